"""What fixes the shape of a model, and the one dial: `depth` sets everything that is not given.

width        64 for every two blocks, so that 12 * depth * width^2 weights grow with the cube of the depth
heads        one for every 64 of width, which the attention kernels like best
hidden       8/3 of the width, rounded up to 32: three matrices as large as two of four times the width

depth      2     4     6     8    12    16    24    32    44
width     64   128   192   256   384   512   768  1024  1408
weights 0.1M  0.8M  2.7M  6.3M   21M   50M  170M  403M  1.0B   (embeddings not counted)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from train.knobs import check_knobs, knob_names

BY_DEPTH = -1  # not given: follows from the depth
HEAD_WIDTH = 64
DATA = (
    "vocabulary",
    "context",
    "end",
    "mask",
)  # set by the tokens and the run, not by whoever asks for a model
CHOICES = {
    "mixer": ("attention", "lstm", "convolution"),
    "position": ("rotary", "learned", "none"),
    "norm": ("rms", "none"),
}


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the shape of a model."""

    vocabulary: int
    depth: int = 4
    width: int = BY_DEPTH
    heads: int = BY_DEPTH
    kv_heads: int = (
        BY_DEPTH  # heads of keys and values, shared by groups of queries; default: as many as heads
    )
    hidden: int = BY_DEPTH  # inner width of the SwiGLU
    context: int = 256
    tied: bool = True  # one matrix embeds tokens and scores them
    mixer: str = "attention"  # what carries information between positions
    position: str = "rotary"  # how a mixer knows where a token stands
    rotary_base: float = 10_000.0
    window: int = 0  # positions that a token sees, itself included; 0: all (of a convolution: 16 a layer)
    init_scale: float = 1.0  # times the usual size of the weights at the start
    norm: str = "rms"  # of what every part of a block reads
    cross_documents: bool = True  # whether a token sees the documents before its own
    end: int | None = None  # the token that ends a document
    mask: int | None = None  # the token that stands for a hidden one; a model that has it sees both sides

    def __post_init__(self) -> None:
        _check_whole("depth", self.depth)
        self._follow("width", HEAD_WIDTH * -(-self.depth // 2))
        self._follow("heads", max(1, self.width // HEAD_WIDTH))
        self._follow("kv_heads", self.heads)
        self._follow("hidden", 32 * -(-8 * self.width // (3 * 32)))
        _check_whole("vocabulary", self.vocabulary)
        _check_whole("context", self.context)
        self._check_heads()
        if type(self.window) is not int or self.window < 0:
            raise ValueError(
                f"model.window = {self.window!r}: must be a whole number, 0 for the whole context"
            )
        if self.window and self.mixer == "lstm":
            raise ValueError("model.window with model.mixer = 'lstm': a recurrence has none; leave it out")
        if self.mask is not None and self.mixer != "attention":
            raise ValueError(f"model.mixer = {self.mixer!r} sees one side only; masked words need attention")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"model.{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")
        if not self.cross_documents and self.end is None:
            raise ValueError("model.cross_documents = false: give model.end, the token that ends a document")

    def _follow(self, name: str, value: int) -> None:
        if getattr(self, name) == BY_DEPTH:
            object.__setattr__(self, name, value)
        _check_whole(name, getattr(self, name))

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

    @classmethod
    def of(cls, knobs: Mapping, **fixed) -> ModelConfig:
        """From plain knobs (JSON, TOML); an unknown knob is an error, not silently a default."""
        check_knobs("model", knobs, set(knob_names(cls)) - set(fixed))
        return cls(**{**knobs, **fixed})


def _check_whole(name: str, value) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"model.{name} = {value!r}: must be a whole number of at least 1")
