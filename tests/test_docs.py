"""What the documentation shows is true: its tutorial and notebook run, its manifests are sound, its commands and options
are there, its links lead somewhere, and what it says of keys and defaults is what the code does."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from conftest import MANIFEST, write_manifest

import curate
from curate.cli import main
from curate.manifest.reader import load_manifest
from train.files import write_record

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(
    [
        README,
        *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
        *DOCS.rglob("*.md"),
    ]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MOST_WORDS = 1200  # of the README


def loaded_reference() -> Any:
    spec = importlib.util.spec_from_file_location("docs_reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = loaded_reference()


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = re.findall(
        r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', page.read_text(encoding="utf-8"), re.S | re.M
    )
    return [Block(*one) for one in found]


# ---- README, links, files that are named --------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= MOST_WORDS


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_has_help_with_an_example_and_a_row_in_the_readme(name):
    done = CliRunner().invoke(main, [name, "--help"])
    assert f"Example: curate {name}" in done.output
    assert re.search(rf"^\| `curate {name}\b", README.read_text(encoding="utf-8"), re.M)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    """To a file of the repository, or, below docs/, to a page that the site makes."""
    page = ROOT / name
    made = {DOCS / made for made in (*reference.pages(), "notebook.md", *reference.COPIED.values())}
    made |= {DOCS / place for place in reference.AGREEMENT.values()}
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists() or found in made, target
        if anchor and found.suffix == ".md" and found.exists():
            assert anchor in anchors(found), target


@pytest.mark.parametrize("name", NAMES)
def test_files_and_tests_that_are_named_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(
        r"\b(?:tests|curate|filters|train|manifests)/[\w./*-]*\w\.(?:py|toml|svg|md)\b", text
    ):
        if path != "manifests/mine.toml":
            assert list(ROOT.glob(path)), path
    for test in re.findall(r"`(test_\w+)`", text):
        assert any(
            f"def {test}(" in file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")
        )


def test_the_version_is_stated_alike():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == curate.__version__
    assert f"\nversion: {curate.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


# ---- commands -----------------------------------------------------------------------------------------------


def commands_of(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ curate "):
            yield shlex.split(line, comments=True)[2:]


def check_command(arguments: list[str]) -> None:
    """The command is there and takes these options and arguments; it is not run."""
    name, *rest = arguments
    command = main.commands[name]
    context = click.Context(command, info_name=name)
    command.make_parser(context).parse_args(list(rest))


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_options_are_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    shown = [block.text for block in blocks(ROOT / name) if block.language == "console"]
    found = [arguments for block in shown for arguments in commands_of(block)]
    inline = [shlex.split(code)[1:] for code in re.findall(r"`(curate [^`\n]+)`", text)]
    for arguments in [*found, *(some for some in inline if some)]:
        if arguments[0] in main.commands:
            given = [one for one in arguments if not one.startswith("...")]
            try:
                check_command(given)
            except click.MissingParameter:
                continue  # `curate run` in a sentence
        else:
            assert arguments[0] in ("MANIFEST", "--help"), arguments


def test_help_examples_name_what_is_there_or_what_an_example_before_makes():
    made = {".curate/runs", ".curate/corpora"}  # by the first example, `curate run`
    for name, command in main.commands.items():
        example = " ".join((command.help or "").partition("Example:")[2].split())
        arguments = shlex.split(example)
        assert arguments[:2] == ["curate", name]
        check_command(arguments[1:])
        for word in arguments[2:]:
            if word.endswith((".toml", ".lock.json", ".md")):
                assert (ROOT / word).exists(), example
            elif "/" in word and "::" not in word:
                assert any(word.startswith(folder) for folder in made), example


# ---- manifests ----------------------------------------------------------------------------------------------

SOURCES = "".join(
    f'[[source]]\nname = "{name}"\nformat = "jsonl"\npath = "{name}.jsonl"\ncolumns = ["url"]\n'
    for name in ("books", "crawl")
)
REST = {"level": '[[level]]\nname = "raw"\n', "sizes": '[sizes]\ntokens = ["1M", "2M"]\n'}
BESIDE = {
    "blocked.txt": "bad.test\n",
    "slurs.txt": "bad\n",
    "judged.jsonl": "",
    "pages.forgotten.jsonl": "a list, which only a build opens",
    "openhermes_reddit_eli5.bin": "a model, which only a build opens",
}


def completed(text: str) -> str:
    """A part of a manifest, with what it does not say."""
    tree = tomllib.loads(text)
    more = "" if "source" in tree else SOURCES
    return text + "\n" + more + "".join(rest for key, rest in REST.items() if key not in tree)


@pytest.mark.parametrize("name", [n for n in NAMES if "```toml" in (ROOT / n).read_text(encoding="utf-8")])
def test_manifests_on_a_page_are_sound(name, tmp_path):
    """Files that a page shows lie beside its manifests. What a page shows in part is completed."""
    shown = blocks(ROOT / name)
    for file, text in BESIDE.items():
        (tmp_path / file).write_text(text)
    for block in shown:
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    for number, block in enumerate(block for block in shown if block.language == "toml"):
        tree = tomllib.loads(block.text)
        if "keep" in tree:  # a profile, which a manifest of its page names
            continue
        for named in tree.get("signals", {}).get("index", []):
            _begin_index(tmp_path, tree, named)
        if named := tree.get("base", {}).get("lock"):
            _write_lock(tmp_path / named)
        manifest = tmp_path / f"block-{number}.toml"
        manifest.write_text(completed(block.text))
        assert load_manifest(manifest).sources


def _write_lock(path: Path) -> None:
    """A lock that a manifest may name as its base."""
    asked = {"path": "earlier.toml", "text": "", "sha256": hashlib.sha256(b"").hexdigest()}
    rule = {"rule": "long.mean_word_length", "bound": [4.0, None]}
    levels = [{"name": "long", "rules": [rule]}]
    path.write_text(
        json.dumps(
            {
                "name": "earlier",
                "manifest": asked,
                "sources": {},
                "levels": levels,
                "corpora": [],
                "profiles": {},
            }
        )
    )


def _begin_index(folder: Path, tree: dict, name: str) -> None:
    """An empty index, to be named by a manifest that compares in the same way."""
    from curate.duplicates.index import begin
    from curate.duplicates.index_folder import RECORD, Folder

    near = reference.as_toml(tree["signals"]["near_duplicates"])
    manifest = folder / "earlier.toml"
    manifest.write_text(completed(f"[signals]\nnear_duplicates = {near}\n"))
    index = begin(load_manifest(manifest), str(folder / name))
    assert isinstance(index, Folder)
    index.folder.mkdir()
    write_record(index.folder / RECORD, index.record)


@pytest.mark.parametrize("name", [n for n in NAMES if "```python" in (ROOT / n).read_text(encoding="utf-8")])
def test_python_on_a_page_compiles(name):
    for block in blocks(ROOT / name):
        if block.language == "python":
            compile(block.text, name, "exec")


# ---- the tutorial, the notebook, the README's Python, run ---------------------------------------------------


def shape(line: str) -> str:
    """A line of output without its figures: those are of one machine."""
    if line.startswith("On held-out"):
        line = line.partition(",")[0]  # what comes of it is chance, and may come out otherwise elsewhere
    line = re.sub(r"\b[0-9a-f]{12,32}\b", "#", line)
    line = re.sub(r"[-+]?\d[\d,.]*\s?(?:[kMG]?B\b|%|k\b|s\b)?", "#", line)
    return " ".join(line.split())


def assert_shown(expected: str, output: str) -> None:
    """Every line that is shown stands in the output, in this order."""
    lines = iter(map(shape, output.splitlines()))
    for line in filter(None, map(str.strip, expected.splitlines())):
        assert shape(line) in lines, f"{line!r} is not in what is printed (from there on):\n{output}"


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """(the folder in which the tutorial was followed, (what is shown, what was printed) of every step)"""
    folder = tmp_path_factory.mktemp("tutorial")
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        space: dict[str, Any] = {}
        for block in blocks(DOCS / "tutorial.md"):
            if block.title:
                Path(block.title).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(block.text, space)
                steps.append(("", printed.getvalue()))
            else:
                command, _, shown = block.text.partition("\n")
                steps.append((shown, followed(shlex.split(command.removeprefix("$ ")))))
    return folder, steps


def followed(words: list[str]) -> str:
    if words[0] == "python":
        return subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True).stdout
    done = CliRunner().invoke(main, words[1:])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_page_of_months_runs(tmp_path, monkeypatch):
    """From two months of stand-in pages, of which the second holds some of the first, to a published, reopened, diffed and
    checked-out version."""
    from months import git, write_pages

    monkeypatch.chdir(tmp_path)
    for month, pages in (("october", range(150)), ("november", range(120, 300))):
        Path(month).mkdir()
        write_pages(pages, f"{month}/part-0.jsonl")
    git("init", "-q", "-b", "main")
    printed: dict[str, str] = {}
    space: dict[str, Any] = {}
    for block in blocks(DOCS / "howto/months.md"):
        if block.title:
            Path(block.title).write_text(block.text)
        if block.language == "python":
            exec(block.text, space)
        for line in block.text.splitlines() if block.language == "console" else ():
            words = shlex.split(line.removeprefix("$ "))
            if words[0] == "git":
                git(*words[1:])
                continue
            digest = printed.get("log", "@ ").partition("@")[2].partition(" ")[0]
            done = CliRunner().invoke(main, [word.replace("DIGEST", digest) for word in words[1:]])
            assert done.exit_code == (words[1] == "diff"), done.output
            printed[words[1]] = done.output
    lock = json.loads(Path("november.lock.json").read_text())
    october = json.loads(Path("october.lock.json").read_text())
    assert lock["ledger"]["unique"]["pages"]["dropped"]["unique.index_similarity"] > 5
    assert lock["tokenizer"]["sha256"] == october["tokenizer"]["sha256"]
    assert [origin["manifest"] for origin in lock["pool"]["index"]["index"][0]["from"]] == [
        "october",
        "november",
    ]
    assert "30 documents in both" in printed["diff"]
    assert list(tmp_path.glob("november@*/unique-4k/corpus.json"))
    assert "october@" in printed["ls"]
    published = next(c for c in lock["corpora"] if (c["level"], c["size"]) == ("unique", "4k"))
    assert len(space["november"]) == published["documents"], "reopened as it was built"


def test_the_page_of_forgetting_runs(tmp_path, monkeypatch):
    from months import page

    monkeypatch.chdir(tmp_path)
    rows = [{"text": page(number), "url": f"http://pages.test/{number}"} for number in range(150)]
    Path("pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = blocks(DOCS / "howto/forget.md")
    for block in shown:
        if block.title:
            Path(block.title).write_text(block.text)
        for line in block.text.splitlines() if block.language == "console" else ():
            followed(shlex.split(line.removeprefix("$ ")))
    (added,) = [block.text for block in shown if block.language == "toml" and not block.title]
    assert Path("pages.toml").read_text().endswith(added)
    proof = json.loads(Path("pages.absence.json").read_text())
    keys = re.findall(r"^\| (`.*`) \|", (DOCS / "howto/forget.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(keys))) | {"dropped"} == set(proof)
    assert (proof["dropped"], proof["indexes"]) == (3, {"seen": 3})


def test_the_tutorial_prints_what_it_shows(tutorial):
    _, steps = tutorial
    assert len(steps) >= 7
    for shown, printed in steps:
        assert_shown(shown, printed)
    assert steps[-1][1].endswith("unique.duplicate\n")  # what its lines of Python say


def test_every_key_of_the_tutorials_lock_is_explained(tutorial):
    folder, _ = tutorial
    lock = json.loads((folder / "manual.lock.json").read_text(encoding="utf-8"))
    assert reference.unexplained(reference.lock_keys(lock), reference.described("lock.toml")["keys"]) == []


def test_the_notebook_prints_what_it_shows(tutorial, monkeypatch):
    folder, _ = tutorial
    monkeypatch.chdir(folder)
    space: dict[str, Any] = {}
    for cell in json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec("".join(cell["source"]), space)
            shown = "".join(text for output in cell["outputs"] for text in output["text"])
            for line, other in zip(shown.splitlines(), printed.getvalue().splitlines(), strict=True):
                if "worth" not in line and "suite" not in line:  # chance; a text
                    assert shape(line) == shape(other)


def test_the_python_of_the_readme_works(tmp_path, monkeypatch):
    (code,) = [block.text for block in blocks(README) if block.language == "python"]
    (tmp_path / "manifests").mkdir()
    write_manifest(tmp_path / "manifests", MANIFEST).rename(tmp_path / "manifests" / "quickstart.toml")
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert "word_count: " in printed.getvalue()
    assert "language: string" in printed.getvalue()


# ---- the reference ------------------------------------------------------------------------------------------


def test_reference_pages_are_made_of_the_code():
    made = reference.pages()
    assert set(made) >= {
        f"reference/{name}.md" for name in ("manifest", "knobs", "commands", "signals", "lock")
    }
    for name in main.commands:
        assert f"\n## {name}\n" in made["reference/commands.md"]
    for name in ("model.depth", "optimizer.learning_rate", "ema"):
        assert f"| `{name}` |" in made["reference/knobs.md"]
    for name in curate.__all__:
        if not isinstance(getattr(curate, name), type):
            assert f"\n## curate.{name}\n" in made["reference/python.md"]


def test_a_key_that_is_not_explained_is_an_error(monkeypatch):
    heard = reference.keys_of_the_reader()
    monkeypatch.setattr(reference, "keys_of_the_reader", lambda: heard | {"[sizes]": ("tokens", "bytes")})
    with pytest.raises(KeyError, match=r"\[sizes\]: explain \['bytes'\]"):
        reference.manifest_page()


def place(tree: dict, table: str) -> dict:
    """Where a table of the reference lies in a manifest's tree."""
    path = table.replace("[", "").replace("]", "").replace(".", " ").split()
    for key in path if table != "top" else []:
        tree = tree[next(iter(tree)) if key == "NAME" else key]
        tree = tree[-1] if isinstance(tree, list) else tree
    return tree


DEFAULTS = [
    (table, key, entry["default"])
    for table, told in reference.described("manifest.toml").items()
    for key, entry in told.get("keys", {}).items()
    if "default" in entry
]


@pytest.fixture(scope="module")
def every_table(tmp_path_factory) -> Path:
    """A folder with all that the manifest of every table names."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "list.txt").write_text("word\n")
    return folder


@pytest.mark.parametrize(("table", "key", "default"), DEFAULTS, ids=[f"{t} {k}" for t, k, _ in DEFAULTS])
def test_writing_a_default_changes_nothing(table, key, default, every_table):
    read = []
    for written in (False, True):
        tree = tomllib.loads(reference.EVERY_TABLE)
        place(tree, table).pop(key, None)
        if written:
            place(tree, table)[key] = default
        path = every_table / "manifest.toml"
        path.write_text("".join(f"{name} = {reference.as_toml(value)}\n" for name, value in tree.items()))
        read.append(dataclasses.replace(load_manifest(path), text=""))
    assert read[0] == read[1]


def test_the_site_builds_without_a_warning(tmp_path):
    """Where mkdocs is installed, as `make docs` does it in `.docs`."""
    places = [str(ROOT), str(ROOT / ".docs")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "NO_MKDOCS_2_WARNING": "1"}
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    if subprocess.run(
        [sys.executable, "-c", "import material"], env=environment, capture_output=True
    ).returncode:
        pytest.skip("mkdocs-material is not installed; `make docs` brings it")
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert (tmp_path / "site" / "reference" / "manifest.html").exists()


# ---- what an installation without the extra `train` can do ---------------------------------------------------

WITHOUT = """
import importlib.machinery, os
absent = set(os.environ["ABSENT"].split(","))
find = importlib.machinery.PathFinder.find_spec.__func__
def find_spec(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in absent else find(cls, name, path, target)
importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
"""


def modules_of(extra: str) -> set[str]:
    """What the distributions of an extra are imported as."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[<>=]", one)[0] for one in project["optional-dependencies"][extra]]
    return {name.replace("-", "_") for name in names}


@pytest.fixture(scope="module")
def without_train(tmp_path_factory):
    """`curate` on the small manifest, in an environment that lacks what the extra `train` brings."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(WITHOUT)
    write_manifest(folder, MANIFEST)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]),
        "ABSENT": ",".join(modules_of("train")),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "curate.cli", *arguments, "--workers", "1"]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    return run


def test_corpora_are_built_without_the_extra_train(without_train):
    for arguments in (["build", "small.toml"], ["explain", "small.toml", "notes.jsonl:1"]):
        done = without_train(*arguments)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["train", "report", "run"])
def test_a_command_that_trains_says_which_extra_it_needs(without_train, command):
    done = without_train(command, "small.toml")
    assert done.returncode in (1, 2)
    assert 'pip install "curate-lm[train]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schema_of_manifests_takes_those_that_are_shipped_and_refuses_a_misspelt_key():
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(reference.manifest_schema())
    for path in (ROOT / "manifests").glob("*.toml"):
        assert list(check.iter_errors(tomllib.loads(path.read_text()))) == [], path
    wrong = tomllib.loads((ROOT / "manifests" / "quickstart.toml").read_text())
    wrong["holdout"]["tokenss"] = 1
    wrong["grid"]["model"]["depht"] = 1
    assert len(list(check.iter_errors(wrong))) == 2


def test_the_tables_of_a_build_at_scale_are_of_its_script():
    spec = importlib.util.spec_from_file_location("scale", ROOT / "docs/scale.py")
    scale = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = scale  # its dataclasses look for their module
    spec.loader.exec_module(scale)
    page = (ROOT / "docs/howto/scale.md").read_text(encoding="utf-8")
    tables = [line for line in scale.main().split("\n") if line.startswith("|")]
    assert [line for line in page.split("\n") if line.startswith("|")] == tables
    end, again, given_up = scale.makespan(300, 10, 100.0, 0.0, 1e9, 4)
    assert (end, again, given_up) == (3000.0, 0, 0)
    assert scale.makespan(300, 10, 100.0, 0.0, 0.01, 4)[1] > 0
