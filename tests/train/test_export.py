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
    assert tokenizer.eos_token == tokenizer.pad_token == END
    assert theirs.generation_config.pad_token_id == theirs.config.eos_token_id
    hostile = f"a {END} b"  # these characters are text, in training and here
    ids, _ = encode(tmp_path / "run/tokenizer.json", [hostile])
    assert [*tokenizer(hostile)["input_ids"], 0] == ids.tolist()
    assert tokenizer(["a", "a b c"], padding=True)["attention_mask"][0][-1] == 0
    assert "parameters" in (out / "README.md").read_text()
    assert str(tmp_path) not in (out / "README.md").read_text()
    assert theirs.config.eos_token_id == 0


def test_what_is_no_qwen3_and_a_folder_that_is_taken_are_refused(tmp_path):
    make_run(tmp_path / "run", position="none")
    with pytest.raises(ValueError, match=r"model\.position = 'none' has no place in Qwen3"):
        export_hf(tmp_path / "run", tmp_path / "out")
    make_run(tmp_path / "good")
    export_hf(tmp_path / "good", tmp_path / "out")
    with pytest.raises(FileExistsError, match="not empty"):
        export_hf(tmp_path / "good", tmp_path / "out")


def test_a_tokenizer_of_the_user_is_handed_on_with_its_own_end_token(tmp_path):
    from tokenizers import Tokenizer

    from train.tokens.ends import end_of, with_end

    make_run(tmp_path / "run")
    theirs = tmp_path / "theirs.json"
    theirs.write_text((tmp_path / "run/tokenizer.json").read_text().replace(END, "<|endoftext|>"))
    (tmp_path / "run/tokenizer.json").write_bytes(with_end(theirs, "<|endoftext|>"))
    assert end_of(tmp_path / "run/tokenizer.json") == ("<|endoftext|>", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        out = export_hf(tmp_path / "run", tmp_path / "out")
        tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|endoftext|>", 0)
    assert (
        Tokenizer.from_file(str(out / "tokenizer.json")).to_str() == Tokenizer.from_file(str(theirs)).to_str()
    )
    hostile = "a <|endoftext|> b"
    assert [*tokenizer(hostile)["input_ids"], 0] == encode(tmp_path / "run/tokenizer.json", [hostile])[
        0
    ].tolist()
