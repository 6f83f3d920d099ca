"""Train small language models on packed tokens and fit what their losses say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train.trained import load_run as load_run

VERSION = 11  # raise it when a change of this package changes the weights that a cell gives


def __getattr__(name: str) -> Any:
    if name != "load_run":
        raise AttributeError(f"module 'train' has no attribute {name!r}")
    from train.trained import load_run  # late: it loads torch

    return load_run
