"""curate from Python: the names that `import curate` gives, and that they do what the commands do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import MANIFEST, write_manifest

import curate


def test_importing_curate_loads_nothing_heavy():
    code = "import sys, curate; print(sorted({'torch', 'numba', 'pyarrow', 'datasets', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there_with_types_and_a_docstring():
    for name in curate.__all__:
        offered = getattr(curate, name)
        assert offered.__doc__, name
        if not isinstance(offered, type):
            assert "return" in offered.__annotations__, name
    with pytest.raises(AttributeError, match="nothing_like_this"):
        curate.nothing_like_this  # noqa: B018


def test_a_manifest_is_planned_built_explained_and_verified_from_python(tmp_path):
    manifest = curate.load_manifest(write_manifest(tmp_path, MANIFEST))
    where = {"store": tmp_path / "store", "workers": 1}
    planned = curate.plan(manifest, sample=20, **where)
    assert planned.problems == []
    assert planned.cells == 6
    lock = tmp_path / "elsewhere" / "small.lock.json"
    built = curate.build(manifest, lock=lock, **where)
    assert json.loads(lock.read_text()) == built.lock
    assert not manifest.lock_path.exists()
    corpus = curate.open_corpus(built.corpora[0].path)
    assert corpus.num_rows == built.corpora[0].documents
    explained = curate.explain(manifest, corpus[0]["id"], **where)
    assert explained.levels[0]["kept"]
    assert curate.verify(lock, store=tmp_path / "store") == len(built.corpora)
    with pytest.raises(curate.CurateError, match="no corpus directory"):
        curate.open_corpus(tmp_path)


def test_a_script_may_build_without_a_guard_around_its_main_part(tmp_path):
    """Workers are started anew by Python, which runs the main file again in each if it is let."""
    path = write_manifest(tmp_path, MANIFEST)
    script = tmp_path / "script.py"
    script.write_text(
        f"import curate\nprint('begins')\nprint(len(curate.build({str(path)!r}, store='store', workers=2).corpora))"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["begins", "9"]
