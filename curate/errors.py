"""The errors a user may meet. Each message says where, what, and the fix; `cli.py` prints it without a traceback.

CurateError             something failed                    exit code 1
├── InputError          a source cannot be read             exit code 1
│   └── NoInput         a source names what is not there    exit code 2
├── Mismatch            a digest differs from the lock      exit code 1
├── ManifestError       the manifest asks for nonsense      exit code 2
└── Unfinished          other processes have not done       exit code 75 (EX_TEMPFAIL of sysexits.h)
                        their share yet
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any


class CurateError(Exception):
    """What a user can mend: one sentence that says where, what and the fix."""

    exit_code = 1


class InputError(CurateError):
    pass


class NoInput(InputError):
    exit_code = 2


class Mismatch(CurateError):
    pass


class ManifestError(CurateError):
    exit_code = 2


class Unfinished(CurateError):
    """What is next needs what others make. `own`: the tasks of the stage that are this process's."""

    exit_code = 75

    def __init__(self, text: str, own: Iterable[Any] = ()) -> None:
        super().__init__(text)
        self.own = list(own)


TRAINING = ("torch", "safetensors", "jinja2", "matplotlib", "resvg_py")  # modules of the extra `train`


def require_training() -> None:
    """Raises CurateError where models cannot be trained and no page be made: said before hours of building."""
    missing = [name for name in TRAINING if find_spec(name) is None]
    if missing:
        raise CurateError(f'training and the page need {", ".join(missing)}: pip install "curate-lm[train]"')


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """As `filters.names` says it; imported late, so that `curate --help` loads no Arrow."""
    from filters import names

    return names.did_you_mean(word, known)
