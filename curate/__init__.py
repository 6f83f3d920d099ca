"""curate: raw text in, versioned corpora and what they were worth in next-word loss out.

`curate.api` says what there is: `load_manifest plan build train run write_report open_corpus explain
verify diff`. Names are
loaded when they are first asked for, so that `import curate` is light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "CurateError", "Manifest", "build", "diff", "explain", "load_manifest", "open_corpus", "plan", "write_report", "run",
    "train", "verify",
]  # fmt: skip

if TYPE_CHECKING:
    from curate.api import (
        CurateError,
        Manifest,
        build,
        diff,
        explain,
        load_manifest,
        open_corpus,
        plan,
        run,
        train,
        verify,
        write_report,
    )


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    from curate import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
