"""Every knob of a run, each stated once: its name, its default, what it may be, what it does.

The tables are those of a manifest's [grid]: `RunConfig` its top, `ModelConfig` its `model`, `OptimizerConfig` its
`optimizer`. Whoever lists, checks or explains knobs asks here, so a new knob is a line in this file and the place that
uses it. Nothing here loads torch.

The one dial of a model is its depth. It sets every width that is not given:

width        64 for every two blocks, so that 12 * depth * width^2 weights grow with the cube of the depth
heads        one for every 64 of width, which the attention kernels like best
hidden       8/3 of the width, rounded up to 32: three matrices as large as two of four times the width

depth      2     4     6     8    12    16    24    32    44
width     64   128   192   256   384   512   768  1024  1408
weights 0.1M  0.8M  2.7M  6.3M   21M   50M  170M  403M  1.0B   (embeddings not counted)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass
from typing import Any, ClassVar

from train.knobs import Config, Knob, Row, declared, fact, former_names, knob, path_to

BY_DEPTH = -1  # not given: follows from the depth
HEAD_WIDTH = 64


@dataclass(frozen=True)
class RunConfig(Config):
    """The knobs of a run that are neither its model's nor its optimizer's."""

    context: int = knob(256, "tokens in a window, which is all that a token can see", "[1, 1048576]")
    batch: int = knob(
        BY_DEPTH,
        "windows in a step",
        "[1, 1048576]",
        unset="1,024 tokens up to depth 11, 4,096 up to 22, 16,384 up to 45",
    )
    cooldown: float = knob(0.25, "share of a run's steps in which the learning rate falls to 0", "(0, 1]")
    epochs: float = knob(1.0, "times that the tokens of a size are read", "(0, 1000000]")
    device: str = knob(
        "auto",
        "where to train; auto: CUDA, then MPS, then the CPU",
        ("auto", "cpu", "cuda", "mps", *(f"cuda:{number}" for number in range(16))),
        in_identity=False,
    )
    threads: int | None = knob(
        1, "threads of a CPU; 0: a grid measures how many are best", "[0, 4096]", in_identity=False
    )
    precision: str = knob(
        "auto",
        "of matrix products; auto: bfloat16 where the device is built for it",
        ("auto", "float32", "bfloat16"),
    )
    compile: bool = knob(False, "let torch compile the model, which pays on GPUs", in_identity=False)
    parallel: str = knob(
        "ddp", "with torchrun: fsdp divides weights as well as windows", ("ddp", "fsdp"), in_identity=False
    )
    ema: float = knob(
        0.0, "decay a step of a running average of the weights, scored beside them; 0: none", "[0, 1)"
    )
    dropout: float = knob(
        0.0, "share of embeddings and of what blocks add that a step leaves out; for several passes", "[0, 1)"
    )
    loss: str = knob("next-word", "what a step learns from", ("next-word", "masked", "reinforce"))
    order: str = knob(
        "text", "of the words that it learns from; shuffled: within window and document", ("text", "shuffled")
    )


@dataclass(frozen=True)
class ModelConfig(Config):
    """Everything that fixes the shape of a model."""

    where: ClassVar[str] = "model"

    vocabulary: int = fact(MISSING, "tokens", "[1, inf)")
    depth: int = knob(4, "blocks; what else is not given follows from it", "[1, 1000]")
    width: int = knob(BY_DEPTH, "width of the stream", "[2, 131072]", unset="64 for every two blocks")
    heads: int = knob(BY_DEPTH, "heads of queries", "[1, 4096]", unset="one for every 64 of width")
    kv_heads: int = knob(
        BY_DEPTH,
        "heads of keys and values, each shared by a group of queries",
        "[1, 4096]",
        unset="as many as heads",
    )
    hidden: int = knob(
        BY_DEPTH, "inner width of the SwiGLU", "[1, 524288]", unset="8/3 of the width, rounded up to 32"
    )
    context: int = fact(256, "tokens in a window", "[1, inf)")
    tied: bool = knob(True, "one matrix is both embedding and lm_head")
    mixer: str = knob(
        "attention", "what carries information between positions", ("attention", "lstm", "convolution")
    )
    position: str = knob("rotary", "how attention knows where a token stands", ("rotary", "learned", "none"))
    rotary_base: float = knob(10_000.0, "base of the rotary frequencies", "[1, 1e9]")
    window: int = knob(
        0, "positions that a token sees, itself included; 0: all, and 16 of a convolution", "[0, 1048576]"
    )
    init_scale: float = knob(1.0, "factor of the first weights' usual size", "[1e-6, 1e6]", former="start")
    norm: str = knob("rms", "of what every part of a block reads", ("rms", "none"))
    cross_documents: bool = knob(True, "whether a token sees the documents before its own")
    end: int | None = fact(None, "the token that ends a document")
    mask: int | None = fact(None, "the token for a hidden one; a model that has it sees both sides")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._follow("width", HEAD_WIDTH * -(-self.depth // 2))
        self._follow("heads", max(1, self.width // HEAD_WIDTH))
        self._follow("kv_heads", self.heads)
        self._follow("hidden", 32 * -(-8 * self.width // (3 * 32)))
        self._check_heads()
        if self.window and self.mixer == "lstm":
            raise ValueError("model.window with model.mixer = 'lstm': a recurrence has none; leave it out")
        if self.mask is not None and self.mixer != "attention":
            raise ValueError(f"model.mixer = {self.mixer!r} sees one side only; masked words need attention")
        if not self.cross_documents and self.end is None:
            raise ValueError("model.cross_documents = false: give model.end, the token that ends a document")

    def _follow(self, name: str, value: int) -> None:
        if getattr(self, name) == BY_DEPTH:
            object.__setattr__(self, name, value)

    def _check_heads(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"model.width = {self.width} with model.heads = {self.heads}: heads must have one, even "
                f"width; make width a multiple of {2 * self.heads}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"model.kv_heads = {self.kv_heads} with model.heads = {self.heads}: every head of keys serves "
                f"as many heads of queries; make kv_heads a divisor of heads"
            )

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def lstm_width(self) -> int:
        """4 D^2 + 5 C D = 4 C^2: recurrent weights, gates of the input and the way back weigh as much as attention."""
        return 2 * round(self.width * (math.sqrt(89) - 5) / 16)

    @property
    def kernel(self) -> int:
        """Positions that a convolution sees."""
        return self.window or 16

    @property
    def convolution_width(self) -> int:
        """As much as attention, likewise: two maps in, one out, and a filter a channel."""
        return max(2, 2 * round(2 * self.width**2 / (3 * self.width + self.kernel)))


@dataclass(frozen=True)
class OptimizerConfig(Config):
    where: ClassVar[str] = "optimizer"

    name: str = knob("muon", "of matrices inside blocks; AdamW moves the rest", ("adamw", "muon"))
    learning_rate: float | None = knob(
        None,
        "the largest of the schedule",
        "(0, 10)",
        unset="0.02 * 64 / width, of adamw 0.004 * 64 / width",
        former="rate",
    )
    embedding_learning_rate: float | None = knob(
        None,
        "of embeddings, learned positions and an untied lm_head",
        "(0, 10)",
        unset="learning_rate, beside Muon times width / 32",
        former="table_rate",
    )
    beta1: float | None = knob(None, "of AdamW", "[0, 1)", unset="0.9, beside Muon 0.8")
    beta2: float | None = knob(None, "of AdamW", "[0, 1)", unset="0.95, beside Muon 0.99")
    momentum: float = knob(0.9, "of Muon", "[0, 1)")
    muon_interval: int | None = knob(
        None,
        "steps from one move of a matrix to the next, which is as many times as long",
        "[1, 1000]",
        unset="2 where a step has fewer than 12 tokens a column of width, else 1",
        former="turns",
    )
    weight_decay: float | None = knob(
        None,
        "of matrices, times the learning rate",
        "[0, 100)",
        unset="0.1, with several epochs 10 * epochs / steps of a pass between 0.1 and 0.8",
    )
    warmup_steps: int = knob(5, "in which the learning rate rises", "[0, 1e12]")
    stable_steps: int = knob(100, "after about which the learning rate begins to fall; 0: never", "[0, 1e12]")
    grad_clip: float = knob(1.0, "largest norm of all gradients together", "(0, 1e9]", former="clip")

    def betas(self) -> tuple[float, float]:
        """Beside Muon AdamW moves mostly rare tokens, hence the longer memory."""
        first, second = (0.8, 0.99) if self.name == "muon" else (0.9, 0.95)
        return (
            first if self.beta1 is None else self.beta1,
            second if self.beta2 is None else self.beta2,
        )

    def peak_rate(self, width: int) -> float:
        return self.learning_rate if self.learning_rate is not None else default_rate(self.name, width)

    def peak_embedding_rate(self, width: int) -> float:
        if self.embedding_learning_rate is not None:
            return self.embedding_learning_rate
        return self.peak_rate(width) * (embedding_rate_factor(width) if self.name == "muon" else 1)

    def decay(self, epochs: float = 1.0, pass_steps: float = 1.0) -> float:
        return default_decay(epochs, pass_steps) if self.weight_decay is None else self.weight_decay

    def interval(self, width: int, step_tokens: int) -> int:
        """Steps from one move of a matrix under Muon to the next."""
        return self.muon_interval or default_muon_interval(width, step_tokens)


def default_batch(depth: Any, context: int) -> int:
    """Windows a step, in powers of four: 1,024 tokens up to depth 11, 4,096 up to 22, 16,384 up to 45.

    Small, since small corpora need steps: on books 2, 4 and 8 windows of 256 end at the same loss.
    """
    depth = depth if isinstance(depth, int) else ModelConfig.depth  # the model's own check names a wrong one
    tokens = 1024 * 4 ** round(max(0.0, math.log2(max(1, depth) / 8)))
    return max(1, tokens // context)


def default_rate(name: str, width: int) -> float:
    """Peak rate: falls with the width, as the sums that a step moves grow with it.

    Best of the rates 2^n * 0.001 for Muon on books: 0.032 at width 64, 0.008 at 128, 0.004 at 256 (depths 2, 4, 8).
    """
    return {"adamw": 4e-3, "muon": 2e-2}[name] * 64 / width


def default_decay(epochs: float, pass_steps: float) -> float:
    """0.1 in one pass. More passes want more and longer ones less: what counts is how many epochs the weights remember
    (Wang & Aitchison 2405.13698, Kim et al. 2509.14786).

    Of eight rules this one is never more than 0.02 nats from the best decay tried: docstrings and a mixed crawl, 50k to
    200k tokens, two to six passes, widths 64 and 128. 0.1 throughout loses up to 0.75, and 0.1 a pass 0.17.
    """
    return 0.1 if epochs <= 1 else round(min(max(10 * epochs / pass_steps, 0.1), 0.8), 2)


def default_muon_interval(width: int, step_tokens: int) -> int:
    """Two where Muon's products would be more than a tenth of a step's.

    They grow with the cube of the width, a step's with its square and its tokens. On books with 1,024 tokens a step an
    interval of two takes 0.91 of the CPU-seconds at width 128 and 0.86 at 256, within what the seeds can tell. At width
    64 it gains 4 % and loses 0.01 nats after 800,000 tokens. Four gain 7 % at width 256 and lose 0.02 after 262,000.
    """
    return 2 if step_tokens < 12 * width else 1


def embedding_rate_factor(width: int) -> float:
    """Rate of embeddings over that of matrices: with the default rate it comes to 0.04 at every width.

    Best of 0.02, 0.04 and 0.08 at widths 64, 128 and 256 on books, or not distinguishable from the best.
    """
    return width / 32


# ---- What is made of the declarations -------------------------------------------------------------------

TABLES: dict[str, type[Config]] = {"": RunConfig, "model": ModelConfig, "optimizer": OptimizerConfig}
SEEDS = Knob("seeds", "int", False, 1, "runs of every setting, with the seeds 0 and on", "[1, 1000]")


def knobs(table: str) -> dict[str, Knob]:
    """The knobs of "", "model" or "optimizer" that a user may set."""
    return {name: one for name, one in declared(TABLES[table]).items() if one.for_users}


RUN_KNOBS = tuple(knobs(""))


def reference() -> list[Row]:
    """A row for every knob: `optimizer.beta1`, its default, what it may be, what it does."""
    rows = [one.row(path_to(table, name)) for table in TABLES for name, one in knobs(table).items()]
    return [SEEDS.row("seeds"), *rows]


def json_schema() -> dict[str, Any]:
    """JSON schema of the knobs in a manifest's [grid], where each is a value or a list of values."""
    tables = {table: {name: one.schema() for name, one in knobs(table).items()} for table in TABLES}
    nested = {table: _object(properties) for table, properties in tables.items() if table}
    return _object(
        {"seeds": SEEDS.schema()["anyOf"][0] | {"description": SEEDS.help}, **tables[""], **nested}
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def digested(config: Config) -> dict[str, Any]:
    """All values, under the names that identities of runs were first made of, so that what is finished stays so."""
    first_names = {name: former for former, name in former_names(type(config)).items()}
    return {first_names.get(name, name): value for name, value in asdict(config).items()}  # type: ignore[call-overload]


def current_names(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a record, which may be older than the names of its knobs."""
    former = former_names(config)
    return {former.get(name, name): value for name, value in values.items()}


def model_size(model: Mapping[str, Any], vocabulary: int, context: int = 256) -> tuple[int, int]:
    """(parameters, those without embedding and untied lm_head) of a model with these knobs, which is not made."""
    c = ModelConfig.of(model, vocabulary=vocabulary, context=context, end=0)
    C, L, M = c.width, c.lstm_width, c.convolution_width
    of_mixer = {
        "attention": 2 * C * C + 2 * c.kv_heads * c.head_width * C + 2 * c.head_width,
        "lstm": 4 * L * (C + L + 2) + L * C,
        "convolution": 3 * M * C + M * c.kernel,
    }
    block = of_mixer[c.mixer] + 3 * c.hidden * C + 2 * C  # and a gain ahead of the mixer and of the SwiGLU
    without = c.depth * block + C + (c.context * C if c.position == "learned" else 0)
    return without + vocabulary * C * (1 if c.tied else 2), without
