"""A finished run as a folder that other tools open: Hugging Face's layout of Qwen3.

    config.json, generation_config.json, model.safetensors    `AutoModelForCausalLM.from_pretrained(folder)`
    tokenizer.json, tokenizer_config.json                     `AutoTokenizer.from_pretrained(folder)`

`<|end|>` both ends a text and stands before the first token, as in training. Weights are the run's own float32
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
    ends = {"bos_token_id": record["end"], "eos_token_id": record["end"]}
    write_json(folder / "generation_config.json", ends)
    if (run / "tokenizer.json").exists():
        tokenizer = (run / "tokenizer.json").read_bytes()
        write_whole(folder / "tokenizer.json", lambda file: file.write(tokenizer))
        write_json(folder / "tokenizer_config.json", tokenizer_config(model.config.context))
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


def tokenizer_config(context: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
