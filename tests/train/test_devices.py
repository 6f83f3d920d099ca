"""What follows from the device: precision, libraries, and the compiled body, as far as a CPU can tell."""

from __future__ import annotations

import shutil

import pytest
import torch

from train import machine
from train.cell import Cell
from train.config import ModelConfig
from train.machine import choose_device, choose_precision, precision_of, product_library
from train.parallel.processes import spread
from train.trainer import new_model


@pytest.mark.parametrize(
    ("asked", "fit", "chosen"),
    [
        ("auto", True, "bfloat16"),
        ("auto", False, "float32"),
        ("float32", True, "float32"),
        ("bfloat16", False, "bfloat16"),
    ],
)
def test_bfloat16_is_the_choice_on_fit_devices_alone_and_what_is_asked_for_stands(asked, fit, chosen):
    assert precision_of(asked, fit) == chosen


@pytest.mark.parametrize(
    ("device", "capability", "chosen"),
    [("cuda", (9, 0), "bfloat16"), ("cuda", (8, 0), "bfloat16"), ("cuda", (7, 5), "float32"), ("mps", None, "float32"),
     ("cpu", True, "bfloat16"), ("cpu", False, "float32")],
)  # fmt: skip
def test_precision_follows_from_what_the_device_says_of_itself(monkeypatch, device, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(machine, "has_half_products", lambda device: device == "cpu" and capability)
    assert choose_precision("auto", torch.device(device)) == chosen


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto").type == chosen
    if not cuda:
        with pytest.raises(ValueError, match="no CUDA device here"):
            choose_device("cuda:0")


def test_a_cell_holds_the_precision_that_its_device_gets():
    cell = Cell.of({"packed": "p", "sizes": [1000], "device": "cpu"})
    assert cell.precision == choose_precision("auto", torch.device("cpu"))
    assert cell == Cell.of({"packed": "p", "sizes": [1000], "device": "cpu", "precision": cell.precision})


def test_the_library_of_products_is_that_of_the_device():
    assert [product_library(kind, "float32") for kind in ("cuda", "mps")] == ["cuBLAS", "Metal"]
    assert product_library("cpu", "bfloat16") == "oneDNN"
    assert product_library("cpu", "float32") in ("oneDNN", "MKL", "BLAS")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("default")
def test_a_compiled_body_gives_the_same_loss_and_gradients():
    model = new_model(ModelConfig(vocabulary=64, depth=2, width=32, context=32), 0)
    rows = torch.randint(0, 64, (2, 33), generator=torch.Generator().manual_seed(1))
    expected = model(rows[:, :-1], rows[:, 1:])
    expected.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    function = spread(model, "ddp", compiled=True)
    loss = function(rows[:, :-1], rows[:, 1:])
    loss.backward()
    assert model.compiled_body is not None
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)
    assert not any("compiled" in name for name in model.state_dict())
