"""Signals: numbers measured on every document. A text column goes in, numbers come out.

    import filters
    table = filters.measure(texts, ["word_count", "language"])

A *family* is what one pass of one kernel measures; a *signal* is one column of it. Families are what
is cached, so a family carries the version of its definitions: whoever changes what a signal means
raises the version, and every stored value of the old meaning is measured anew.

Nothing here opens a file of documents, reads a manifest or drops anything.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filters.family import Family, Signal

__all__ = ["FAMILIES", "SIGNALS", "Family", "Signal", "measure"]

INLINED = (
    "text/*.py", "duplicates/sha1.py", "duplicates/shingles.py", "fasttext/outputs.py", "fasttext/tables.py",
    "fasttext/vectors.py", "models/kneser_ney.py",
)  # fmt: skip  # files whose compiled functions other files inline into their kernels


def inlined_files() -> list[Path]:
    """The `INLINED` files."""
    return sorted(path for name in INLINED for path in Path(__file__).parent.glob(name))


def _kernel_folder() -> Path:
    """The folder of compiled kernels: one for each content of the `INLINED` files.

    numba compiles a kernel anew when its own file changes, not when a function it took from another file
    does. A folder a version of those files makes a stale kernel impossible, and leaves the kernels of one
    family alone when another is edited.
    """
    digest = hashlib.sha256()
    for path in inlined_files():
        digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    chosen = Path(os.environ.get("NUMBA_CACHE_DIR", ""))
    if chosen.name == name and _is_private(chosen):  # a parent process chose it
        return chosen
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "curate"
    for above in (home, Path(tempfile.gettempdir()) / f"curate-{os.getuid()}"):
        if _make_private(above) and _make_private(above / name):
            return above / name
    fresh = Path(tempfile.mkdtemp(prefix="curate-"))  # of this process and its children
    atexit.register(_remove, fresh, os.getpid())
    (fresh / name).mkdir(mode=0o700)
    return fresh / name


def _make_private(folder: Path) -> bool:
    """Whether this folder, made where it is not there, is one that nobody else can put a file into: numba runs what it
    finds there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    return _is_private(folder)


def _is_private(folder: Path) -> bool:
    try:
        status, above = folder.lstat(), folder.parent.stat().st_mode
    except OSError:
        return False
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
    stays = not above & stat.S_IWOTH or above & stat.S_ISVTX  # nobody else can put another in its place
    return private and bool(stays) and os.access(folder, os.W_OK)


def _remove(folder: Path, maker: int) -> None:
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)


def _keep_compiled_kernels() -> None:
    """Point numba's cache at that folder, unless the user chose another one."""
    chosen = os.environ.get("NUMBA_CACHE_DIR", "")
    if chosen and not Path(chosen).name.startswith("kernels-"):  # ours may come from a parent process
        return
    folder = str(_kernel_folder())
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:  # it read its environment already
        sys.modules["numba"].config.CACHE_DIR = folder


_keep_compiled_kernels()

if TYPE_CHECKING:
    from filters.measuring import measure as measure

FAMILIES: dict[str, Family]  # by name
SIGNALS: dict[str, Signal]  # by name, those of all families
_LOADED_LATER = {"FAMILIES": "registry", "SIGNALS": "registry", "measure": "measuring"}


def __getattr__(name: str) -> Any:
    """Load the families when one is first asked for: `import filters` alone compiles and loads nothing."""
    if name not in _LOADED_LATER:
        raise AttributeError(f"module 'filters' has no attribute {name!r}")
    return getattr(importlib.import_module(f"filters.{_LOADED_LATER[name]}"), name)
