"""What reaches a terminal: nothing that moves it, no password, and any letters in any encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from curate.cli import main
from curate.terminal import visible

CURSOR, TITLE, OVERRIDE = "\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\u202egnp.exe"
HOSTILE = f"before{CURSOR}{TITLE}{OVERRIDE}\x9b31m\r\u2066\ufeff\U000e0041 after\n\tnext"


def test_what_cannot_be_seen_is_shown():
    shown = visible(HOSTILE)
    assert shown.startswith("before\\u001b[2J\\u001b[H\\u001b]0;owned\\u0007\\u202egnp.exe\\u009b31m\\r")
    assert shown.endswith(" after\n\tnext")
    assert all(letter.isprintable() or letter in "\n\t" for letter in shown)


def test_within_json_it_means_the_same():
    assert json.loads(visible(json.dumps({"text": HOSTILE}, ensure_ascii=False))) == {"text": HOSTILE}


@pytest.mark.parametrize("text", ["汉字", "e\u0301", "👩\u200d👩\u200d👧", "می\u200cخواهم", "שלום", "a: b@c"])
def test_letters_of_any_script_stay(text):
    assert visible(text) == text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A manifest of documents that want the terminal for themselves."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [{"text": f"{HOSTILE} {'汉' * 9} número {i} " + "word " * (40 + i)} for i in range(60)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "m.toml").write_text("""
[[source]]
name = "a"
format = "jsonl"
path = "a.jsonl"
[signals]
near_duplicates = { similarity = 0.5 }
[[level]]
name = "raw"
[[level]]
name = "few"
on = "raw"
keep = { word_count = [60, inf] }
[sizes]
tokens = ["1k"]
[holdout]
tokens = "200"
from = ["raw"]
[tokenizer]
vocabulary = 270
""")
    return folder


SHELL = 'cd "$1"; shift; exec "$PYTHON" -m curate.cli "$@" '


def shell(
    hostile: Path, words: list[str], redirect: str = "", **environment: str
) -> subprocess.CompletedProcess:
    root = str(Path(__file__).parents[2])
    variables = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": root} | environment
    command = ["sh", "-c", SHELL + redirect, "sh", str(hostile), *words]
    return subprocess.run(command, capture_output=True, env=variables, timeout=300)


@pytest.mark.parametrize("words", [
    ["show", "m.toml"], ["show", "m.toml", "--json"], ["explain", "m.toml", "a.jsonl:3"],
    ["sweep", "m.toml", "--signal", "word_count"], ["diff", "raw", "few", "--of", "m.toml"],
    ["explain", "m.toml", "nowhere\x1b[2J"], ["show", "m.toml", "--level", "a\x1b[2J"],
], ids=" ".join)  # fmt: skip
def test_no_document_and_no_argument_reaches_the_terminal_unseen(hostile, words, monkeypatch):
    monkeypatch.chdir(hostile)
    said = CliRunner().invoke(main, words).output
    assert "\\u001b" in said
    assert not {letter for letter in said if not letter.isprintable()} - set("\n\t")


@pytest.mark.parametrize(
    ("encoding", "words"), [("latin-1", ["show", "m.toml"]), ("ascii", ["show", "m.toml", "--json"])]
)
def test_a_terminal_of_few_letters_shows_the_others_as_escapes(hostile, encoding, words):
    done = shell(hostile, words, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr.count(b"Traceback")) == (0, 0), done.stderr
    if "--json" in words:
        assert "汉" in json.loads(done.stdout.decode(encoding))["sample"][0]["text"]
    else:
        assert b"\\u6c49" in done.stdout


@pytest.mark.parametrize(("redirect", "code", "said"), [
    (">/dev/full", 1, b"error: standard output: No space left on device"),
    ("2>&-", 0, b""), ("2>/dev/full", 0, b""), (">&-", 0, b""), ("<&- >&- 2>&-", 0, b""), ("| head -c 1 >&2", 0, b"k"),
], ids=["full", "no-error", "error-full", "no-output", "nothing", "a-reader-that-leaves"])  # fmt: skip
def test_a_stream_that_is_closed_or_full_ends_nothing_but_itself(hostile, redirect, code, said):
    if "full" in redirect and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(hostile, ["show", "m.toml", "--count", "60", "--characters", "100000"], redirect)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert said in done.stderr
    if redirect in ("2>&-", "2>/dev/full"):
        assert b"kept by few: 47 documents, of which 47" in done.stdout


@pytest.mark.parametrize(("words", "redirect"), [
    (["--help"], ">/dev/full"), (["--version"], ">/dev/full"), (["plan", "--help"], ">/dev/full"), (["nonsense"], "2>&-"),
    (["nonsense"], "2>/dev/full"), (["--help"], "<&- >&- 2>&-"),
])  # fmt: skip
def test_help_and_bad_usage_meet_such_streams_too(tmp_path, words, redirect):
    if "full" in redirect and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(tmp_path, words, redirect)
    assert (done.returncode == 0) == (redirect == "<&- >&- 2>&-")
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""
    if redirect == ">/dev/full":
        assert done.stderr == b"error: No space left on device\n"
