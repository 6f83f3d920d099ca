"""What is exported opens elsewhere and predicts the same."""

from __future__ import annotations

import warnings

import pytest
import safetensors.torch
import torch

from train.config import ModelConfig
from train.export import export_hf
from train.files import seal_folder
from train.model.transformer import Transformer
from train.tokens import END, encode, train_tokenizer

TEXTS = [f"the {n} small words of text number {n} say little\n" * 3 for n in range(60)]


def make_run(folder, **knobs):
    """A finished run, as `train.run` leaves it, with weights and gains far from their start."""
    folder.mkdir()
    train_tokenizer(TEXTS, 280, folder / "tokenizer.json")
    torch.manual_seed(2)
    model = Transformer(ModelConfig(vocabulary=280, depth=2, width=32, heads=4, context=24, **knobs))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    seal_folder(folder / "run.json", {"model": vars(model.config), "end": 0}, ["model.safetensors"])
    return model.eval()


@pytest.mark.parametrize("knobs", [{}, {"kv_heads": 2, "tied": False}], ids=["tied", "grouped and untied"])
def test_transformers_opens_an_exported_run_as_qwen3_with_equal_logits(tmp_path, knobs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        model = make_run(tmp_path / "run", **knobs)
        out = export_hf(tmp_path / "run", tmp_path / "out")
        theirs = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    tokens = torch.randint(0, 280, (3, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(theirs(tokens).logits, model.logits(tokens), rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in theirs.parameters()) == model.parameters_total()
    ids, _ = encode(tmp_path / "run/tokenizer.json", TEXTS[:1])
    assert [*tokenizer(TEXTS[0])["input_ids"], tokenizer.eos_token_id] == ids.tolist()
    assert tokenizer.eos_token == END
    assert theirs.config.eos_token_id == 0


def test_what_is_no_qwen3_and_a_folder_that_is_taken_are_refused(tmp_path):
    make_run(tmp_path / "run", position="none")
    with pytest.raises(ValueError, match=r"model\.position = 'none' has no place in Qwen3"):
        export_hf(tmp_path / "run", tmp_path / "out")
    make_run(tmp_path / "good")
    export_hf(tmp_path / "good", tmp_path / "out")
    with pytest.raises(FileExistsError, match="not empty"):
        export_hf(tmp_path / "good", tmp_path / "out")
