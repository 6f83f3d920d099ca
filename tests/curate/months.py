"""A repository with a manifest and its pages, and curate at work there: what tests of stores and versions share."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from curate.cli import main

MANIFEST = """
name = "month"
[[source]]
name = "pages"
format = "jsonl"
path = "pages.jsonl"
[[level]]
name = "raw"
[[level]]
name = "long"
on = "raw"
keep = { word_count = [LEAST, inf] }
[sizes]
tokens = ["1k", "3k"]
[holdout]
tokens = "1k"
[tokenizer]
vocabulary = 258
"""


_letters = random.Random(0)
LEXICON = ["".join(_letters.choices("aeioubkrst", k=_letters.randrange(2, 9))) for _ in range(900)]


def begin(folder: Path, monkeypatch) -> Path:
    """Make the repository, and go there."""
    monkeypatch.chdir(folder)
    write_pages(range(150))
    git("init", "-q", "-b", "main")
    Path("month.toml").write_text(MANIFEST.replace("LEAST", "30"))
    return folder


def page(number: int) -> str:
    chance = random.Random(number)
    return " ".join(chance.choices(LEXICON, k=chance.randrange(20, 80)))


def write_pages(numbers, path: str = "pages.jsonl", **more) -> None:
    """`more`: texts under other numbers than their own, as n7="text"."""
    texts = {number: page(number) for number in numbers} | {int(n[1:]): text for n, text in more.items()}
    rows = [{"text": text, "key": f"k{number}"} for number, text in texts.items()]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def git(*arguments: str) -> None:
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull} | {
        f"GIT_{who}_{what}": "a@b.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }  # fmt: skip
    subprocess.run(["git", *arguments], check=True, capture_output=True, env=environment)


def answer(*arguments: str) -> Any:
    done = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def built(least: int = 30, commit: str = "") -> dict:
    Path("month.toml").write_text(MANIFEST.replace("LEAST", str(least)))
    lock = answer("build", "month.toml", "--workers", "1")
    if commit:
        git("add", "month.lock.json")
        git("commit", "-qm", commit)
    return lock


def refusal(*arguments: str, code: int = 1) -> str:
    """What a command says that ends so."""
    done = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stderr
