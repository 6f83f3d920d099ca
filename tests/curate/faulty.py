"""An object store that is a folder and behaves badly, registered with fsspec; and `curate` with it, as a program:
`python faulty.py build MANIFEST --store faulty:///folder`.

CURATE_FAULTS is a seed, and says that a few requests in a hundred go wrong: busy (503), uploads and downloads that are cut
without a word, objects that for a second nobody finds or lists. Every download is written down in FOLDER.log: `bytes name`.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

UNSEEN_SECONDS = 0.3
chance = random.Random(f"{os.environ.get('CURATE_FAULTS')} {os.getpid()}")


def strikes(share: float) -> bool:
    return bool(os.environ.get("CURATE_FAULTS")) and chance.random() < share


class Faulty(LocalFileSystem):
    protocol = "faulty"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("faulty://"))

    def _busy(self, path: str) -> None:
        if strikes(0.05):
            raise OSError(f"503 Slow Down: {path}")

    def _unseen(self, path: str) -> None:
        """New objects, for a while, half of the time."""
        if os.path.exists(path) and time.time() - os.stat(path).st_mtime < UNSEEN_SECONDS and strikes(0.5):
            raise FileNotFoundError(path)

    def _log(self, path: str) -> None:
        folder, _, name = path.partition("/bucket/")
        with open(f"{folder}/bucket.log", "a") as log:
            log.write(f"{os.path.getsize(path)} {name}\n")

    def cat_file(self, path, **options):
        path = self._strip_protocol(path)
        self._busy(path)
        self._unseen(path)
        content = Path(path).read_bytes()
        self._log(path)
        return content[: len(content) // 2] if strikes(0.02) else content

    def get_file(self, path, local, **options):
        path = self._strip_protocol(path)
        self._busy(path)
        self._unseen(path)
        self._log(path)
        shutil.copyfile(path, local)
        if strikes(0.05):
            os.truncate(local, os.path.getsize(local) // 2)

    def _placed(self, path, content: bytes) -> None:
        path = self._strip_protocol(path)
        self._busy(path)
        if strikes(0.03):
            content = content[: len(content) // 2]
        temporary = f"{path}.{os.getpid()}-{random.random()}.uploaded"
        Path(temporary).write_bytes(content)
        os.replace(temporary, path)
        if strikes(0.03):
            raise OSError(f"connection reset after {path}")

    def pipe_file(self, path, value, **options):
        self._placed(path, value)

    def put_file(self, local, path, **options):
        self._placed(path, Path(local).read_bytes())

    def size(self, path):
        path = self._strip_protocol(path)
        self._busy(path)
        self._unseen(path)
        return os.path.getsize(path)

    def find(self, path, maxdepth=None, **options):
        assert maxdepth == 1
        path = self._strip_protocol(path)
        self._busy(path)
        found = [str(file) for file in Path(path).glob("*") if file.is_file() and file.suffix != ".uploaded"]
        return [file for file in found if not strikes(0.05)]

    def rm_file(self, path):
        path = self._strip_protocol(path)
        self._busy(path)
        os.remove(path)


fsspec.register_implementation("faulty", Faulty, clobber=True)

if __name__ == "__main__":
    from curate.cli import main

    main()
