"""What tests share: the real data where it is named, and a small manifest over the standard library's own text."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

MANIFEST = """
name = "small"

[[source]]
name = "docstrings"
format = "python"
path = ["{stdlib}/asyncio", "{stdlib}/email", "{stdlib}/concurrent", "{stdlib}/unittest"]

[[source]]
name = "notes"
format = "jsonl"
path = "notes.jsonl"

[parts]
bytes = "100 kB"

[signals]
language = true
near_duplicates = { similarity = 0.8 }

[[level]]
name = "raw"

[[level]]
name = "long"
on = "raw"
keep = { word_count = [8, inf], language = ["en"] }

[[level]]
name = "unique"
on = "long"
profiles = ["gopher-repetition"]
keep = { duplicate = false }

[tokenizer]
vocabulary = 400
train_on = "raw"
bytes = "60 kB"

[sizes]
tokens = ["4k", "8k", "16k"]

[holdout]
tokens = "4k"
from = ["raw", "unique"]

[grid]
seeds = 2
context = 32
batch = 8
model = { depth = 1, width = 32 }
"""


@pytest.fixture(autouse=True)
def no_time_is_taken_to_measure_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`plan` measures training once on a machine, which takes seconds; its own tests ask for that."""
    monkeypatch.setattr("curate.commands.plan._flops_a_second", lambda manifest: 3e10)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real text, or a skip that says how to name it."""
    folder = os.environ.get("CURATE_DATA")
    if not folder:
        pytest.skip("CURATE_DATA does not name a folder of real text")
    return Path(folder)


def write_manifest(folder: Path, text: str = MANIFEST) -> Path:
    """The small manifest, with notes of every kind of bad row beside it."""
    import json

    rows = [
        json.dumps({"text": f"A note on subject {i}: " + f"it has word{i} and word{i + 1} in it, " * (i % 9)})
        for i in range(200)
    ]
    rows += [
        "{not json",
        '{"other": 1}',
        '{"text": 7}',
        '["text"]',
        '{"text": ""}',
        '{"text": "half \\ud800 pair"}',
        "",
    ]
    raw = "\n".join(rows).encode() + b'\n{"text": "not utf-8: \xff\xfe"}\n'
    (folder / "notes.jsonl").write_bytes(raw)
    path = folder / "small.toml"
    path.write_text(text)
    return path


def options_of(command: str, store: Path) -> list[str]:
    """`--store` and one worker, as far as a command takes them."""
    from curate.cli import main

    taken = {parameter.name for parameter in main.commands[command].params}
    given = {"store": str(store), "workers": "1"}
    return [word for name, value in given.items() if name in taken for word in (f"--{name}", value)]


CHROME, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A real browser without a screen, which keeps a log of its console."""
    if not (CHROME and DRIVER):
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROME
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_manifest(tmp_path)
