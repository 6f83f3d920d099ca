"""A finished run as a folder that other tools open: Hugging Face's layout of Qwen3.

    config.json, generation_config.json, model.safetensors    `AutoModelForCausalLM.from_pretrained(folder)`
    tokenizer.json, tokenizer_config.json                     `AutoTokenizer.from_pretrained(folder)`
    README.md                                                 the model's card

The end token (`<|end|>`, or that of the user's tokenizer) both ends a text and stands before the first token, as in
training; it pads, too. Its characters inside a text are text, as they were in training. Weights are the run's own float32
numbers, only cut and renamed, so the logits are equal up to the order of additions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from train.config import ModelConfig
from train.files import atomic, write_json, write_whole
from train.model.attention import EPSILON
from train.model.transformer import Transformer
from train.tokens.bpe import END
from train.tokens.ends import as_it_was, end_of
from train.trained import load_run

QWEN3 = {"mixer": "attention", "position": "rotary", "norm": "rms", "window": 0, "mask": None}


def export_hf(run: str | Path, out: str | Path) -> Path:
    """Write the folder; ValueError where the model is no Qwen3, FileExistsError where the folder is taken."""
    run, out = Path(run), Path(out)
    trained = load_run(run, "cpu")
    model, record = trained.model, trained.record
    check_is_qwen3(model.config, run)
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out}: exists and is not empty; name another folder")
    with atomic(out) as folder:
        folder.mkdir()
        _write(folder, run, model, record)
    return out


def _write(folder: Path, run: Path, model: Transformer, record: dict[str, Any]) -> None:
    weights = qwen3_weights(model.state_dict(), model.config)
    content = safetensors.torch.save(weights, {"format": "pt"})
    write_whole(folder / "model.safetensors", lambda file: file.write(content))
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), record["end"])
    write_json(folder / "generation_config.json", ends)
    if (run / "tokenizer.json").exists():
        tokenizer, (end, _) = as_it_was(run / "tokenizer.json"), end_of(run / "tokenizer.json")
        write_whole(folder / "tokenizer.json", lambda file: file.write(tokenizer))
        write_json(folder / "tokenizer_config.json", tokenizer_config(model.config.context, end))
    card = model_card(model, record).encode()
    write_whole(folder / "README.md", lambda file: file.write(card))
    write_json(folder / "config.json", qwen3_config(model.config) | ends)


def check_is_qwen3(config: ModelConfig, run: Path) -> None:
    for name, value in QWEN3.items():
        if getattr(config, name) != value:
            raise ValueError(
                f"{run}: model.{name} = {getattr(config, name)!r} has no place in Qwen3; only {value!r} can be exported"
            )


def qwen3_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": EPSILON,
        "rope_theta": config.rotary_base,  # until transformers 5; then:
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "attention_bias": False,
        "tie_word_embeddings": config.tied,
        "dtype": "float32",
    }


def qwen3_weights(state: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict under Qwen3's names, the maps that lie on top of each other cut apart."""
    weights = {"model.embed_tokens.weight": state["embedding"], "model.norm.weight": state["gain"]}
    if not config.tied:
        weights["lm_head.weight"] = state["head"]
    kv_width = config.kv_heads * config.head_width
    for i in range(config.depth):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        q, k, v = state[ours + "mixer.project.weight"].split((config.width, kv_width, kv_width))
        gate, up = state[ours + "mlp.expand.weight"].split(config.hidden)
        weights |= {
            theirs + "input_layernorm.weight": state[ours + "mixer.project.gain"],
            theirs + "self_attn.q_proj.weight": q,
            theirs + "self_attn.k_proj.weight": k,
            theirs + "self_attn.v_proj.weight": v,
            theirs + "self_attn.q_norm.weight": state[ours + "mixer.query_gain"],
            theirs + "self_attn.k_norm.weight": state[ours + "mixer.key_gain"],
            theirs + "self_attn.o_proj.weight": state[ours + "mixer.out.weight"],
            theirs + "post_attention_layernorm.weight": state[ours + "mlp.expand.gain"],
            theirs + "mlp.gate_proj.weight": gate,
            theirs + "mlp.up_proj.weight": up,
            theirs + "mlp.down_proj.weight": state[ours + "mlp.out.weight"],
        }
    return {name: weight.contiguous() for name, weight in weights.items()}


def model_card(model: Transformer, record: dict[str, Any]) -> str:
    """What the run's record says, for whoever meets the model elsewhere; no path of this machine."""
    losses = [f"| {name} | {loss['nats_per_token']:.4f} |" for name, loss in record.get("losses", {}).items()]
    table = "\n".join(["| text | nats per token |", "|---|---:|", *losses])
    return (Path(__file__).parent / "card.md").read_text(encoding="utf-8").format(
        parameters=model.parameters_total(), tokens=record.get("size", "some"), level=record.get("level", ""),
        context=model.config.context, losses=table,
    )  # fmt: skip


def tokenizer_config(context: int, end: str = END) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "pad_token": end,
        "split_special_tokens": True,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
