"""A knob is stated once: what lists, checks, explains and counts is made of its declaration."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch

from train import config
from train.cell import Cell
from train.config import (
    TABLES,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    json_schema,
    knobs,
    model_size,
    reference,
)
from train.grid import expand
from train.knobs import Config, inside, knob
from train.model.transformer import Transformer

ROOT = Path(__file__).parent.parent.parent
KNOBS = [(table, name) for table in TABLES for name in knobs(table)]


def nested(table: str, name: str, value) -> dict:
    return {table: {name: value}} if table else {name: value}


@dataclass(frozen=True)
class WithAnotherKnob(OptimizerConfig):
    nesterov: bool = knob(True, "whether the momentum looks ahead")


def test_a_new_knob_needs_its_declaration_alone(monkeypatch):
    monkeypatch.setitem(TABLES, "optimizer", WithAnotherKnob)
    assert len(expand({"optimizer": {"nesterov": [True, False]}})) == 2
    with pytest.raises(ValueError, match=r"optimizer\.nesterov = 3: must be true or false"):
        expand({"optimizer": {"nesterov": 3}})
    with pytest.raises(ValueError, match=r"optimizer\.nestorov: did you mean nesterov\?"):
        expand({"optimizer": {"nestorov": True}})
    with pytest.raises(ValueError, match="must be true or false"):
        WithAnotherKnob(nesterov=1)
    row = next(row for row in reference() if row.name == "optimizer.nesterov")
    assert row[1:] == ("true", "true or false", "whether the momentum looks ahead")
    assert "nesterov" in json_schema()["properties"]["optimizer"]["properties"]


def test_no_other_module_lists_the_knobs():
    tables = [set(knobs(table)) for table in TABLES]
    for path in [*(ROOT / "train").rglob("*.py"), *(ROOT / "curate").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            listed = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
            strings = {x.value for x in listed if isinstance(x, ast.Constant)}
            # What an identity or a Qwen3 holds is a list of its own; no list holds nearly all.
            assert all(len(strings & table) < 0.6 * len(table) for table in tables), (path, strings)


def test_the_tables_are_the_classes_that_a_run_is_made_of():
    assert issubclass(Cell, RunConfig)
    assert all(issubclass(table, Config) for table in TABLES.values())
    facts = {"vocabulary", "context", "end", "mask"}
    assert set(knobs("model")) == {f.name for f in fields(ModelConfig)} - facts
    assert set(knobs("optimizer")) == {f.name for f in fields(OptimizerConfig)}


@pytest.mark.parametrize(("table", "name"), KNOBS)
def test_every_knob_has_help_and_refuses_what_it_is_not(table, name):
    one = knobs(table)[name]
    assert one.help
    wrong = {"bool": 1, "str": "neither", "int": 0.5, "float": "much"}[one.kind]
    with pytest.raises(ValueError, match=rf"{name} = .*: must be "):
        expand(nested(table, name, wrong))
    if isinstance(one.allowed, str) and one.allowed:
        for beyond in (-2, 1e300 if one.kind == "float" else 10**30):
            with pytest.raises(ValueError, match=r"must be .* in [\[(]"):
                expand(nested(table, name, beyond))
    if isinstance(one.allowed, tuple):
        assert one.default in one.allowed


def test_intervals_have_their_ends_or_not():
    assert [inside(x, "(0, 1]") for x in (0, 0.5, 1, float("nan"))] == [False, True, True, False]
    assert [inside(x, "[0, inf)") for x in (-1, 0, 1e9, float("inf"))] == [False, True, True, False]


def test_a_former_name_is_an_error_that_names_the_new_one():
    for former, new in {
        "rate": "learning_rate",
        "table_rate": "embedding_learning_rate",
        "turns": "muon_interval",
        "clip": "grad_clip",
    }.items():
        with pytest.raises(ValueError, match=rf"optimizer\.{former}: is now called {new}"):
            expand({"optimizer": {former: 1}})
    with pytest.raises(ValueError, match=r"model\.start: is now called init_scale"):
        expand({"model": {"start": 1.0}})


def test_a_record_that_is_older_than_its_names_is_read():
    assert config.current_names(ModelConfig, {"start": 2.0, "depth": 3}) == {"init_scale": 2.0, "depth": 3}


def test_the_schema_knows_every_knob_as_a_value_and_as_a_list():
    schema = json_schema()
    assert {*schema["properties"]} == {"seeds", "model", "optimizer", *knobs("")}
    value, axis = schema["properties"]["model"]["properties"]["depth"]["anyOf"]
    assert value == {"type": "integer", "minimum": 1, "maximum": 1000}
    assert (axis["type"], axis["items"]) == ("array", value)
    value, _ = schema["properties"]["ema"]["anyOf"]
    assert value == {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    assert schema["properties"]["order"]["anyOf"][0]["enum"] == ["text", "shuffled"]


def test_the_reference_has_a_row_for_every_knob():
    rows = {row.name: row for row in reference()}
    assert set(rows) == {"seeds", *(f"{table}.{name}" if table else name for table, name in KNOBS)}
    assert rows["model.width"].default == "64 for every two blocks"
    assert rows["optimizer.beta1"].allowed == "a number in [0, 1)"


SHAPES = [
    *itertools.product(["attention", "lstm", "convolution"], ["rotary", "learned", "none"], [True, False]),
]


@pytest.mark.parametrize(("mixer", "position", "tied"), SHAPES)
def test_the_size_of_a_model_is_known_without_making_it(mixer, position, tied):
    more: list[dict] = [
        {"depth": 1}, {"depth": 3, "width": 40, "heads": 2}, {"depth": 12}, {"norm": "none", "width": 96, "hidden": 50},
        {"depth": 2, "width": 128, "heads": 4, "kv_heads": 2}, {"depth": 5, "init_scale": 2.0},
    ]  # fmt: skip
    if mixer != "lstm":
        more.append({"window": 7, "width": 48})
    for shape in more:
        model = {"mixer": mixer, "position": position, "tied": tied} | shape
        with torch.device("meta"):
            made = Transformer(ModelConfig.of(model, vocabulary=300, context=20))
        total, without = made.parameters_total(), made.parameters_without_embeddings()
        assert model_size(model, 300, 20) == (total, without), model


def test_a_depth_alone_is_a_size():
    total, without = model_size({"depth": 12}, 4096)
    assert without > 21_000_000
    assert total == without + 4096 * 384


def test_weight_decay_follows_the_passes_between_its_bounds():
    decays = {epochs: OptimizerConfig().decay(epochs, 100) for epochs in (0.3, 1, 1.5, 3, 6, 8, 64)}
    assert decays == {0.3: 0.1, 1: 0.1, 1.5: 0.15, 3: 0.3, 6: 0.6, 8: 0.8, 64: 0.8}
    assert [OptimizerConfig().decay(4, steps) for steps in (10, 200, 4000)] == [0.8, 0.2, 0.1]
    assert OptimizerConfig().decay(1, 10) == 0.1
    assert OptimizerConfig(weight_decay=0.0).decay(6, 100) == 0.0
    assert OptimizerConfig().decay() == 0.1


def test_knobs_are_known_without_torch():
    code = "import sys, train.config, train.grid; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
