"""Shares of a build: who does what, what is said where others are not done, and the batch script of the docs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from faults.world import MANIFEST, documents

from curate.claims import claim, claims
from curate.cli import main
from curate.errors import CurateError, Unfinished

PAGE = (Path(__file__).parents[2] / "docs/howto/cluster.md").read_text(encoding="utf-8")
FILES = 4
HOLDER = """
import sys, time
from pathlib import Path
from curate.claims import claim
with claim(Path(sys.argv[1]), "duplicates-abc", waits=False):
    print("held", flush=True)
    time.sleep(600)
"""


def write(folder: Path) -> Path:
    """A manifest of four files, each of which is a task of reading."""
    rows = [json.dumps({"text": text}) + "\n" for text in documents(1)]
    (folder / "notes").mkdir()
    for number in range(FILES):
        (folder / f"notes/{number}.jsonl").write_text("".join(rows[number::FILES]))
    text = MANIFEST.replace('index = ["seen"]', "").replace("notes.jsonl", "notes")
    (folder / "small.toml").write_text(text.replace("30 kB", "10 kB"))
    return folder / "small.toml"


def curate(*words: object) -> tuple[int, str, str]:
    """(exit code, standard output, the last line of standard error)."""
    done = CliRunner().invoke(main, [*map(str, words)])
    return done.exit_code, done.stdout, (done.stderr.strip().splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> str:
    """The lock of one process."""
    folder = tmp_path_factory.mktemp("alone")
    path = write(folder)
    assert curate("build", path, "--workers", 1, "--store", folder / "store")[0] == 0
    return (folder / "small.lock.json").read_text()


def test_a_share_reads_its_own_files_measures_them_and_ends_with_75(tmp_path):
    path, store = write(tmp_path), tmp_path / "store"
    code, _, said = curate("build", path, "--share", "0/2", "--store", store)
    assert (code, said) == (75, "unfinished: read waits for 2 of 4 parts; run the same command again")
    read = [json.loads(receipt.read_text()) for receipt in (store / "documents").glob("*.json")]
    assert len(read) == 2
    measured = list((store / "signals" / "text_hash").glob("*.json"))
    assert len(measured) == sum(len(receipt["parts"]) for receipt in read) > 0


def test_shares_one_after_the_other_come_to_the_lock_of_one_process(alone, tmp_path):
    path, store, codes = write(tmp_path), tmp_path / "store", [75, 75]
    for _ in range(8):
        codes = [curate("build", path, "--share", f"{share}/2", "--store", store)[0] for share in range(2)]
        if codes == [0, 0]:
            break
    assert codes == [0, 0]
    assert (tmp_path / "small.lock.json").read_text() == alone
    assert not list((store / "claims").iterdir())


def test_one_share_that_waits_makes_what_nobody_else_does(alone, tmp_path):
    path = write(tmp_path)
    assert curate("build", path, "--share", "2/3", "--wait", "--store", tmp_path / "store")[0] == 0
    assert (tmp_path / "small.lock.json").read_text() == alone


@pytest.mark.parametrize("share", ["3/3", "1", "a/b", "-1/2", "0/0"])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    assert curate("build", write(tmp_path), "--share", share)[0] == 2


@pytest.fixture
def holder(tmp_path):
    """A process that has claimed the duplicates."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "store/claims")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "held\n"
    yield running
    running.kill()
    running.communicate()


def test_what_another_process_makes_is_not_made_twice_and_a_dead_process_holds_nothing(holder, tmp_path):
    folder = tmp_path / "store/claims"
    with pytest.raises(Unfinished, match="duplicates-abc is made by another process"), claim(
        folder, "duplicates-abc", waits=False
    ):  # fmt: skip
        pytest.fail("it is claimed twice")
    assert [(one.work, one.process) for one in claims(folder)] == [("duplicates-abc", holder.pid)]
    holder.kill()
    holder.wait()
    assert claims(folder) == []
    with claim(folder, "duplicates-abc", waits=False):
        assert [one.process for one in claims(folder)] == [os.getpid()]
    assert not list(folder.iterdir())


def test_status_says_what_is_left_who_is_at_work_and_what_failed_and_makes_nothing(holder, tmp_path):
    path, store = write(tmp_path), tmp_path / "store"
    assert "inputs.json is next" in curate("status", path, "--store", store)[1]
    assert curate("build", path, "--share", "0/2", "--store", store)[0] == 75
    with pytest.raises(CurateError), claim(store / "claims", "signals-abc", waits=False):
        raise CurateError("[signals] language: no model")
    before = sorted(store.rglob("*"))
    code, text, _ = curate("status", path, "--store", store)
    assert code == 0
    assert re.search(r"^read +2 +4 +2$", text, re.M)
    assert re.search(rf"^at work: duplicates-abc, machine .*, process {holder.pid}, for ", text, re.M)
    assert "failed: signals-abc: [signals] language: no model" in text
    assert text.splitlines()[-1].startswith("read waits for 2 of 4 parts")
    assert sorted(store.rglob("*")) == before


def test_status_of_what_is_built_counts_its_cells(tmp_path):
    path, store = write(tmp_path), tmp_path / "store"
    assert curate("build", path, "--store", store)[0] == 0
    assert json.loads(curate("status", path, "--store", store, "--json")[1])["next"].startswith(
        "packed is next"
    )
    assert curate("train", path, "--store", store, "--cells")[0] == 0
    found = json.loads(curate("status", path, "--store", store, "--json")[1])
    assert found["next"] is None
    assert (found["cells"]["done"], found["cells"]["of"]) == (0, 2)


def test_the_batch_script_of_the_docs_builds_the_lock_of_one_process(alone, tmp_path):
    """Each task of the array in a process of its own, as Slurm starts them."""
    write(tmp_path)
    (script,) = re.findall(r'^```bash title="build.sbatch"\n(.*?)^```', PAGE, re.S | re.M)
    (tmp_path / "build.sbatch").write_text(
        script.replace("/shared/curate", "store").replace("crawl", "small")
    )
    (tmp_path / "curate").write_text(f'#!/bin/sh\nexec {sys.executable} -m curate.cli "$@"\n')
    (tmp_path / "curate").chmod(0o755)
    slurm = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "1"}
    paths = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    tasks = [
        subprocess.Popen(["bash", "build.sbatch"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                         env=os.environ | paths | slurm | {"SLURM_ARRAY_TASK_ID": str(number)})
        for number in range(2)
    ]  # fmt: skip
    said = [task.communicate(timeout=1800)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert (tmp_path / "small.lock.json").read_text() == alone
