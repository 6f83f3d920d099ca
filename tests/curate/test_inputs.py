"""Which files a source names: globs, links, hidden files, what curate wrote itself, and files that change meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import MANIFEST, options_of, write_manifest

from curate.cli import main
from curate.engine import open_engine
from curate.errors import InputError, NoInput
from curate.manifest.reader import load_manifest
from curate.sources.documents import open_source, read_sample
from curate.sources.inputs import digests, list_inputs
from curate.spec.manifest import Source
from curate.store import Store


def tree(folder: Path, *names: str) -> Path:
    """A file of one document at each of these places."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"text": f"Text of {name}."}))
    return folder


def names(path: Path | str | list, format: str = "jsonl", **more) -> list[str]:
    paths = tuple(map(str, path if isinstance(path, list) else [path]))
    return [item.name for item in list_inputs(Source("s", format, paths, **more)).files]


def counts(table: dict) -> dict[str, int]:
    return {cause: entry["count"] for cause, entry in table.items()}


GLOBS = [
    ("**/*.jsonl", ["a.jsonl", "x/b.jsonl", "x/y/c.jsonl"]),
    ("*.jsonl", ["a.jsonl"]),
    ("*/*.jsonl", ["x/b.jsonl"]),
    ("x/**", ["x/b.jsonl", "x/y/c.jsonl", "x/y/d.txt"]),
    ("x/**/c.jsonl", ["x/y/c.jsonl"]),
    ("**/[bc].jsonl", ["x/b.jsonl", "x/y/c.jsonl"]),
    ("**/[!a].jsonl", ["x/b.jsonl", "x/y/c.jsonl"]),
    ("x/y/?.*", ["x/y/c.jsonl", "x/y/d.txt"]),
]


@pytest.mark.parametrize(("glob", "expected"), GLOBS, ids=[glob for glob, _ in GLOBS])
def test_a_glob_means_the_same_below_a_folder_and_at_a_url(tmp_path, glob, expected):
    tree(tmp_path, "a.jsonl", "x/b.jsonl", "x/y/c.jsonl", "x/y/d.txt")
    begin = os.path.commonpath([expected[0], glob]) if "/" in glob and not glob.startswith("*") else ""
    below = [name.removeprefix(begin).strip("/") for name in expected]
    assert names(tmp_path / glob) == below
    assert names(f"file://{tmp_path}/{glob}") == below


@pytest.mark.parametrize("folder", ["[crawl] v1", "what?", "a*b", "[!x]", "{a,b}", "[", "**"])
def test_a_path_that_exists_is_no_glob_whatever_its_name(tmp_path, folder):
    tree(tmp_path / folder, "a.jsonl", "sub/b.jsonl")
    assert names(tmp_path / folder) == ["a.jsonl", "sub/b.jsonl"]
    assert names(tmp_path / folder / "a.jsonl") == ["a.jsonl"]
    assert names(tmp_path / folder / "*.jsonl") == ["a.jsonl"]
    assert names(f"file://{tmp_path}/{folder}/sub") == ["b.jsonl"]


def test_braces_of_a_folder_that_exists_are_no_placeholder(tmp_path):
    source = '[[source]]\nname = "x"\nformat = "jsonl"\npath = "{old}"\n\n[parts]'
    manifest = write_manifest(tree(tmp_path, "{old}/a.jsonl"), MANIFEST.replace("[parts]", source))
    assert names(load_manifest(manifest).sources[-1].path[0]) == ["a.jsonl"]


def test_globs_below_a_folder_are_of_names_or_of_whole_paths(tmp_path):
    tree(tmp_path, "a.txt", "b.log", "docs/c.txt", "docs/deep/d.txt", "build/e.txt", "[x].txt")
    assert names(tmp_path, "text", include=("c.*", "b.log")) == ["b.log", "docs/c.txt"]
    assert names(tmp_path, "text", include=("docs/*.txt",)) == ["docs/c.txt"]
    assert names(tmp_path, "text", include=("docs/**",)) == ["docs/c.txt", "docs/deep/d.txt"]
    assert names(tmp_path, "text", include=("[x].txt",)) == ["[x].txt"]
    assert names(tmp_path, "text", exclude=("docs/*", "build", "[[]x].txt")) == ["a.txt"]


@pytest.mark.parametrize("paths", [["", "x"], ["x", ""], ["", "x/*.jsonl", "x/b.jsonl"], ["", "link"]])
def test_a_file_that_several_paths_name_is_read_once(tmp_path, paths):
    tree(tmp_path / "in", "a.jsonl", "x/b.jsonl")
    os.symlink(tmp_path / "in" / "x", tmp_path / "in" / "link")
    found = list_inputs(Source("s", "jsonl", tuple(str(tmp_path / "in" / path) for path in paths))).files
    assert sorted(os.path.basename(item.url) for item in found) == ["a.jsonl", "b.jsonl"]


def test_files_below_several_paths_are_named_by_as_much_of_the_paths_as_tells_them_apart(tmp_path):
    tree(tmp_path, "01/data/part-0.jsonl", "02/data/part-0.jsonl", "02/other/part-1.jsonl")
    assert names([tmp_path / "01" / "data", tmp_path / "02" / "other"]) == [
        "data/part-0.jsonl",
        "other/part-1.jsonl",
    ]
    assert names([tmp_path / "01" / "data", tmp_path / "02" / "data"]) == [
        "01/data/part-0.jsonl",
        "02/data/part-0.jsonl",
    ]
    assert names([tmp_path / "01/data/part-0.jsonl", tmp_path / "02/other/part-1.jsonl"]) == [
        "part-0.jsonl",
        "part-1.jsonl",
    ]


LEFT_OUT = (
    "._a.jsonl",
    ".git/b.jsonl",
    ".ipynb_checkpoints/c.jsonl",
    "x/.d.jsonl",
    "e.jsonl~",
    "#f.jsonl#",
    "__MACOSX/g.jsonl",
)


@pytest.mark.parametrize("begin", ["", "file://"])
def test_hidden_files_and_what_editors_leave_are_left_out_and_counted(tmp_path, begin):
    tree(tmp_path, "a.jsonl", "x/b.jsonl", *LEFT_OUT)
    listing = list_inputs(Source("s", "jsonl", (f"{begin}{tmp_path}",), include=("*.jsonl", "*~", "*#")))
    assert [item.name for item in listing.files] == ["a.jsonl", "x/b.jsonl"]
    assert counts(listing.left_out) == {"hidden": len(LEFT_OUT)}


def test_a_hidden_file_that_is_named_is_read(tmp_path):
    tree(tmp_path, ".a.jsonl", ".x/b.jsonl")
    assert names(tmp_path / ".a.jsonl") == [".a.jsonl"]
    assert names(tmp_path / ".x") == ["b.jsonl"]
    assert names(tmp_path / ".*.jsonl") == [".a.jsonl"]
    assert names(tmp_path, include=(".x/*",)) == [".x/b.jsonl"]


def test_a_folder_of_hidden_files_alone_says_what_was_left_out(tmp_path):
    tree(tmp_path, ".a.jsonl")
    with pytest.raises(NoInput, match=r"no file .*left out: 1 hidden \(.a.jsonl\)"):
        names(tmp_path)


def test_a_link_that_leads_nowhere_is_passed_over_and_said(tmp_path):
    tree(tmp_path, "a.jsonl")
    os.symlink("nowhere", tmp_path / "b.jsonl")
    os.symlink("c.jsonl", tmp_path / "c.jsonl")
    listing = list_inputs(Source("s", "jsonl", (str(tmp_path),)))
    assert [item.name for item in listing.files] == ["a.jsonl"]
    assert listing.left_out["broken-link"]["count"] == 2


def test_a_pipe_or_a_device_is_passed_over_said_and_never_waited_for(tmp_path):
    tree(tmp_path, "a.jsonl")
    os.mkfifo(tmp_path / "b.jsonl")
    for name, target in (("c.jsonl", "b.jsonl"), ("d.jsonl", "/dev/zero")):
        os.symlink(target, tmp_path / name)
    listing = list_inputs(Source("s", "jsonl", (str(tmp_path),)))
    assert [item.name for item in listing.files] == ["a.jsonl"]
    assert listing.left_out["pipe-or-device"]["count"] == 3
    for path in ("b.jsonl", "c.jsonl", "d.jsonl"):
        for begin in ("", "file://"):
            with pytest.raises(NoInput, match="1 pipe-or-device"):
                names(f"{begin}{tmp_path / path}")


def test_a_link_that_leads_nowhere_is_said_where_it_is_named_too(tmp_path):
    os.symlink("nowhere", tmp_path / "b.jsonl")
    with pytest.raises(NoInput, match=r"left out: 1 broken-link \(b.jsonl\)"):
        names(tmp_path / "b.jsonl")
    os.symlink("nowhere", tmp_path / "m.toml")
    done = CliRunner().invoke(main, ["plan", str(tmp_path / "m.toml")])
    assert done.output == f"error: {tmp_path / 'm.toml'}: a link that leads to no file\n"


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="this system makes no such files")
def test_what_the_system_makes_as_it_is_read_is_no_file(tmp_path):
    """/proc/self/pagemap says that it is empty, and has no end within a lifetime."""
    tree(tmp_path, "a.jsonl")
    os.symlink("/proc/self/pagemap", tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").touch()  # empty, and a file
    listing = list_inputs(Source("s", "jsonl", (str(tmp_path),)))
    assert [item.name for item in listing.files] == ["a.jsonl", "c.jsonl"]
    assert counts(listing.left_out) == {"made-by-the-system": 1}
    for path in (tmp_path / "b.jsonl", "/proc/self/pagemap"):
        with pytest.raises(NoInput, match="made-by-the-system"):
            names(path, "text", include=("*",))


@pytest.mark.parametrize("glob", ["*a" * 40 + "b.jsonl", "**/" * 30 + "b.jsonl", "**/*a/" * 12 + "b.jsonl"])
def test_no_glob_takes_more_time_than_it_has_characters(tmp_path, glob):
    tree(tmp_path, "a" * 100 + ".jsonl", "/".join(["aa"] * 40) + "/c.jsonl")
    with pytest.raises(NoInput):
        names(tmp_path / glob)


@pytest.mark.parametrize(("glob", "expected"), [
    ("**/x/**/y/*.jsonl", ["x/w/x/y/a.jsonl", "x/y/b.jsonl", "y/x/y/x/y/c.jsonl"]), ("x/**/x/*/a*.jsonl", ["x/w/x/y/a.jsonl"]),
    ("**/x/**/x/**/*.jsonl", ["x/w/x/y/a.jsonl", "y/x/y/x/y/c.jsonl"]), ("*/*/*.j*s*l", ["x/y/b.jsonl"]),
    ("**/y/x/**", ["y/x/y/x/y/c.jsonl"]),
])  # fmt: skip
def test_several_stars_find_whatever_any_division_between_them_finds(tmp_path, glob, expected):
    tree(tmp_path, "x/w/x/y/a.jsonl", "x/y/b.jsonl", "y/x/y/x/y/c.jsonl")
    (tmp_path / "here").touch()
    assert [os.path.join(*glob.split("*")[:1], name) for name in names(tmp_path / glob)] == expected


def test_a_file_that_is_named_as_a_path_and_as_an_address_is_read_once(tmp_path):
    tree(tmp_path, "a.jsonl")
    assert len(names([tmp_path, f"file://{tmp_path}"])) == 1


@pytest.mark.parametrize("output", [("curate.json", "README.md"), ("config.json", "model.safetensors")])
def test_what_was_published_or_exported_is_no_input(tmp_path, output):
    tree(tmp_path, "a.jsonl", *(f"out/{name}" for name in (*output, "b.jsonl")))
    listing = list_inputs(Source("s", "jsonl", (str(tmp_path),)))
    assert [item.name for item in listing.files] == ["a.jsonl"]
    assert listing.left_out["curate-output"]["count"] == 1


def test_a_linked_folder_is_passed_over_and_said(tmp_path):
    tree(tmp_path / "elsewhere", "b.jsonl")
    tree(tmp_path / "in", "a.jsonl")
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "linked")
    listing = list_inputs(Source("s", "jsonl", (str(tmp_path / "in"),)))
    assert [item.name for item in listing.files] == ["a.jsonl"]
    assert listing.left_out["linked-folder"]["samples"][0]["at"] == "linked/"
    assert names([tmp_path / "in", tmp_path / "in" / "linked"]) == ["in/a.jsonl", "linked/b.jsonl"]


def test_endings_are_known_in_capitals_too(tmp_path):
    tree(tmp_path, "a.JSONL", "b.Json", "C.JSONL.GZ", "d.TXT")
    assert names(tmp_path) == ["C.JSONL.GZ", "a.JSONL", "b.Json"]


class Web:
    """A file system as that of `https://` is, with one file."""

    file = "https://a.org/x/a.jsonl?token=abc&v=[1]"
    exists = staticmethod(lambda path: path == Web.file)
    isdir = staticmethod(lambda path: False)
    info = staticmethod(lambda path: {"size": 10, "ETag": "1"})
    unstrip_protocol = staticmethod(lambda path: path)


def test_what_follows_a_question_mark_is_no_part_of_a_file_s_name_on_the_web(monkeypatch):
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (Web, url))
    (item,) = list_inputs(Source("s", "jsonl", (Web.file,))).files
    assert (item.name, item.url) == ("a.jsonl", Web.file)


def test_names_that_are_not_utf8_are_read_and_shown_as_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9.jsonl")
    tree(tmp_path / "in", name, "b.jsonl")
    source = Source("s", "jsonl", (str(tmp_path / "in"),))
    account = open_source(Store(tmp_path / "store"), source, 1000, open_engine("local", 1))
    assert account.parts[0].table()["place"].to_pylist() == ["b.jsonl:1", "caf\\xe9.jsonl:1"]


def build(manifest: Path, store: Path) -> dict:
    done = CliRunner().invoke(main, ["build", str(manifest), *options_of("build", store), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("store", ["store", ".curate", "deep/inside/store"])
def test_a_build_never_reads_what_curate_wrote(tmp_path, store):
    """A source of the manifest's own folder: the store, another store, a lock and a report lie in it."""
    source = '[[source]]\nname = "here"\nformat = "jsonl"\npath = "."\ninclude = ["*.json", "*.jsonl", "*.md", "*.arrow"]\n'
    levels = '[[level]]\nname = "raw"\n[tokenizer]\nvocabulary = 257\n[sizes]\ntokens = ["1k"]\n[holdout]\ntokens = "1k"\n'
    rows = (json.dumps({"text": f"A note on subject {i}, of some words."}) for i in range(100))
    (tmp_path / "notes.jsonl").write_text("\n".join(rows))
    manifest = tmp_path / "m.toml"
    manifest.write_text(source + levels)
    first = build(manifest, tmp_path / store)
    tree(tmp_path / "report" / "m", "report.html", "report.json", "made-from.json")
    tree(tmp_path / "seen", "index.json", "segment-00000.arrow")
    build(manifest, tmp_path / "another")
    again = build(manifest, tmp_path / store)
    assert first["sources"]["here"]["documents"] == again["sources"]["here"]["documents"] == 100
    assert not again["sources"]["here"]["failed"]
    assert again == first, "nor does the lock know how much it wrote"
    (source,) = load_manifest(manifest).sources
    assert list_inputs(source).left_out["curate-output"]["count"] == 5
    locked = ["build", str(manifest), "--locked", *options_of("build", tmp_path / store)]
    assert CliRunner().invoke(main, locked).exit_code == 0


def test_a_store_is_no_source_but_a_corpus_in_it_may_be(tmp_path):
    manifest = write_manifest(tmp_path)
    build(manifest, tmp_path / "store")
    with pytest.raises(InputError, match="is a store of curate"):
        names(tmp_path / "store", "arrow")
    (corpus, *_) = sorted((tmp_path / "store" / "corpora").iterdir())
    assert names(corpus, "arrow")


def test_a_limit_is_of_the_source_not_of_a_task(tmp_path):
    for i in range(5):
        rows = [json.dumps({"text": f"File {i}, row {j}."}) for j in range(20)]
        (tmp_path / f"{i}.jsonl").write_text("\n".join(["{broken", *rows]))
    source = Source("s", "jsonl", (str(tmp_path),), exclude=("store",), limit=50)
    for workers, part_bytes in ((1, 100), (2, 100), (1, 10**9)):
        store = Store(tmp_path / f"store-{workers}-{part_bytes}")
        account = open_source(store, source, part_bytes, open_engine("local", workers))
        texts = [text for part in account.parts for text in part.table()["text"].to_pylist()]
        assert texts == [f"File {i}, row {j}." for i in range(3) for j in range(20)][:50]
    sample = read_sample(Store(tmp_path / "sample"), source, 100, 10)
    assert sample.documents == 10


def test_every_task_of_a_local_data_set_has_rows_of_its_own(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": [f"Row number {i}." for i in range(60)]})
    rows.save_to_disk(str(tmp_path / "set"), num_shards=4)
    source = Source("s", "hub", (str(tmp_path / "set"),))
    found = [
        open_source(Store(tmp_path / f"store-{size}"), source, size, open_engine("local", 2)) for size in (300, 10**9)
    ]  # fmt: skip
    for account in found:
        texts = [text for part in account.parts for text in part.table()["text"].to_pylist()]
        assert texts == [f"Row number {i}." for i in range(60)]
    assert found[0].parts[0].table()["place"][0].as_py() == "set:0"  # the same on every machine
    assert read_sample(Store(tmp_path / "sample"), source, 300, 10).documents == 10


def test_a_file_that_changes_while_it_is_read_ends_the_build_and_poisons_nothing(tmp_path, monkeypatch):
    path = tree(tmp_path, "a.jsonl") / "a.jsonl"
    source, store = Source("s", "jsonl", (str(path),)), Store(tmp_path / "store")

    from curate.sources.formats import json_lines

    read = json_lines.opened_text

    def opened_and_changed(item):
        path.write_text('{"text": "Another text."}')
        return read(item)

    with monkeypatch.context() as patch:
        patch.setattr(json_lines, "opened_text", opened_and_changed)
        with pytest.raises(InputError, match="a.jsonl changed while it was read"):
            open_source(store, source, 1000, open_engine("local", 1))
    account = open_source(store, source, 1000, open_engine("local", 1))
    assert account.parts[0].table()["text"].to_pylist() == ["Another text."]
    assert (
        account.digest == open_source(Store(tmp_path / "fresh"), source, 1000, open_engine("local", 1)).digest
    )


def test_a_file_that_changes_while_it_is_hashed_is_hashed_again(tmp_path, monkeypatch):
    path = tree(tmp_path, "a.jsonl") / "a.jsonl"
    source, store = Source("s", "jsonl", (str(path),)), Store(tmp_path / "store")
    files = list_inputs(source).files
    path.write_text("changed")
    with pytest.raises(InputError, match="changed"):
        digests(store, source, files)
    assert not (store.root / "inputs.json").exists()


def test_plan_exits_with_2_where_nothing_can_be_read(tmp_path):
    text = MANIFEST.replace(
        "[parts]", '[[source]]\nname = "x"\nformat = "jsonl"\npath = "x.jsonl"\n\n[parts]'
    )
    (tmp_path / "x.jsonl").write_text("no json\nat all\n")
    done = CliRunner().invoke(
        main, ["plan", str(write_manifest(tmp_path, text)), "--store", str(tmp_path / "store")]
    )
    assert done.exit_code == 2
    assert 'source "x": no document in 1 files (not-json: 2); x.jsonl:1: ' in done.output


def test_a_build_says_on_the_terminal_how_many_rows_failed_by_cause(tmp_path):
    manifest = write_manifest(tmp_path)
    code = "from curate.cli import main; main()"
    for _ in range(2):  # also where nothing is read again
        done = subprocess.run(
            [sys.executable, "-c", code, "build", str(manifest), "--store", str(tmp_path / "store"), "--workers", "1"],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        assert 'source "notes": 5 rows failed (empty 1, no-text 1, not-an-object 1, not-json 1' in done.stderr
        assert "2 texts repaired" in done.stderr


def test_folders_nested_deeper_than_python_s_stack_are_searched(tmp_path):
    begin = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        Path("a.jsonl").write_text("{}")
        os.chdir(begin)
        assert names(tmp_path) == ["d/" * 1200 + "a.jsonl"]
    finally:
        os.chdir(begin)
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # deeper than shutil goes
