"""`curate init`: files looked at, and a manifest that `plan` finds sound and `build` builds."""

from __future__ import annotations

import json
import random
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from curate.cli import main
from curate.manifest.reader import load_manifest

ENGLISH = """the of and to in that it was for on with as his they be at one have this from had by word but not
what all were we when your can said there use each which she do how their if will up other about out many then them
these some would make like him into time has look two more write go see number way could people my than first water been"""
FRENCH = """le la les de des et un une dans que qui pour pas sur est avec ne se au il elle nous vous ils mais plus par
ce cette son sa ses tout comme fait bien peut aussi leur sans autre temps monde encore maison grande petite toujours
jamais pendant homme femme enfant pays ville jour nuit vie eau terre quand alors parce depuis lequel chaque beaucoup"""


def sentences(text: str, seed: int, count: int = 40) -> str:
    chance, words = random.Random(seed), text.split()
    made = (" ".join(chance.choices(words, k=chance.randint(8, 16))).capitalize() for _ in range(count))
    return ".\n".join(made) + ".\n"


def documents(words, count: int = 120) -> list[str]:
    return [sentences(words, seed) for seed in range(count)]


def write_lines(path, rows) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def ran(*arguments: object):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(*arguments: object):
    """(manifest, what is printed) of `curate init`; the manifest is sound in the eyes of `plan`."""
    done = ran("init", *arguments)
    assert done.exit_code == 0, done.output
    told = done.output.splitlines()
    assert len(told) == 10
    path = told[-1].removeprefix("wrote ").partition(";")[0]
    assert told[-1].endswith(f"next: curate plan {path}")
    manifest = load_manifest(path)
    planned = ran("plan", path, "--store", "store", "--sample", "100")
    assert planned.exit_code == 0, planned.output
    assert "the manifest is sound" in planned.output
    assert list(manifest.sizes) == sorted(manifest.sizes)
    return manifest, done.output


def test_lines_with_ids_and_addresses_give_both_and_hosts_to_hold_out_and_build(tmp_path):
    rows = [
        {
            "doc_id": f"d{n}",
            "url": f"https://host{n % 60}.test/{n}",
            "date": "2024-05-01",
            "score": n % 3,
            "body": text,
        }
        for n, text in enumerate(documents(ENGLISH, 240))
    ]
    write_lines(
        tmp_path / "crawl.jsonl", [*rows, *({**row, "doc_id": f"copy-{row['doc_id']}"} for row in rows[:24])]
    )
    manifest, told = made("crawl.jsonl")
    (source,) = manifest.sources
    assert (source.format, source.text, source.id, source.columns) == (
        "jsonl",
        "body",
        "doc_id",
        ("url", "date"),
    )
    assert 'path = "crawl.jsonl"' in manifest.text
    assert manifest.holdout.group == "host"
    assert [level.name for level in manifest.levels][:2] == ["raw", "english"]
    assert re.search(r"duplicates +9\.1% equal", told)
    built = ran("build", manifest.path, "--store", "store", "--workers", "1")
    assert built.exit_code == 0, built.output
    lock = json.loads((tmp_path / "crawl.lock.json").read_text())
    assert {corpus["level"] for corpus in lock["corpora"]} == {level.name for level in manifest.levels}
    assert len(lock["corpora"]) == len(manifest.levels) * len(manifest.sizes)


def test_a_field_with_an_ids_name_is_no_id_where_values_repeat(tmp_path):
    rows = [{"id": n % 50, "key": n, "text": text} for n, text in enumerate(documents(ENGLISH))]
    write_lines(tmp_path / "a.jsonl", rows)
    manifest, told = made("a.jsonl")
    assert manifest.sources[0].id is None
    assert "by place and text (all differ: key)" in told


def test_ids_that_repeat_beyond_the_rows_looked_at_first_are_no_ids(tmp_path):
    rows = [{"id": min(n, 450), "text": sentences(ENGLISH, n, 3)} for n in range(600)]
    write_lines(tmp_path / "a.jsonl", rows)
    assert made("a.jsonl")[0].sources[0].id is None


def test_a_folder_of_texts_is_a_source_and_its_folders_are_held_out(tmp_path):
    for number, text in enumerate(documents(ENGLISH)):
        folder = tmp_path / "notes" / f"topic-{number % 30}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text(text.replace("\n", "\r\n"), newline="")
    (tmp_path / "notes" / "about.json").write_text('{"made": 1}')
    manifest, told = made("notes")
    (source,) = manifest.sources
    assert (source.format, source.document, source.newlines) == ("text", "file", "unix")
    assert "\\r\\n in notes" in told


def test_one_long_text_is_cut_in_its_paragraphs_or_its_lines(tmp_path):
    (tmp_path / "book.txt").write_text("\n\n".join(documents(ENGLISH)))
    (tmp_path / "list.txt").write_text("".join(text.replace("\n", " ") + "\n" for text in documents(ENGLISH)))
    assert made("book.txt")[0].sources[0].document == "paragraph"
    assert made("list.txt")[0].sources[0].document == "line"


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_columns_that_some_files_lack_are_not_carried(tmp_path, kind):
    (tmp_path / "tables").mkdir()
    for number in range(2):
        table = pa.table({"content": documents(ENGLISH, 60 + number), "title": ["A title"] * (60 + number)})
        if number:
            table = table.append_column("license", pa.array(["CC0"] * 61))
        path = tmp_path / "tables" / f"part-{number}.{kind}"
        if kind == "parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_file(path, table.schema) as file:
                file.write_table(table)
    (source,) = made("tables")[0].sources
    assert (source.format, source.text, source.columns) == (kind, "content", ("title",))


def test_files_named_one_by_one_are_one_source_and_each_format_is_one(tmp_path):
    folder = tmp_path / "pile"
    folder.mkdir()
    for number in range(3):
        write_lines(folder / f"{number}.jsonl", [{"text": text} for text in documents(ENGLISH, 30 + number)])
    assert len(made(*sorted(folder.iterdir()))[0].sources[0].path) == 3
    pq.write_table(pa.table({"doc": [{"body": text} for text in documents(ENGLISH)]}), folder / "t.parquet")
    manifest, _ = made(folder, "--out", "both.toml")
    assert {(source.format, source.text) for source in manifest.sources} == {
        ("jsonl", "text"),
        ("parquet", "doc.body"),
    }
    assert len({source.name for source in manifest.sources}) == 2


def test_french_has_a_level_and_no_profile_for_english(tmp_path):
    write_lines(tmp_path / "pages.jsonl", [{"text": text} for text in documents(FRENCH)])
    manifest, told = made("pages.jsonl")
    assert [level.name for level in manifest.levels][:2] == ["raw", "french"]
    assert "fr 100% of the text" in told
    assert not {"gopher-quality", "gopher-repetition", "fineweb"} & set(manifest.profiles)
    assert manifest.levels[-1].name == "unique"


def test_languages_of_which_none_prevails_share_a_level(tmp_path):
    rows = [{"text": text} for text in (*documents(FRENCH, 60), *documents(ENGLISH, 60))]
    write_lines(tmp_path / "pages.jsonl", rows)
    manifest, _ = made("pages.jsonl")
    assert manifest.levels[1].name == "languages"
    assert {rule.signal: set(rule.bound.labels or ()) for rule in manifest.levels[1].rules}["language"] == {
        "en",
        "fr",
    }


def test_real_text_gets_levels_that_keep_some_of_it(data_folder):
    manifest, told = made(data_folder / "web_mix_small.parquet")
    assert [level.name for level in manifest.levels] == ["raw", "english", "filtered", "unique"]
    assert (manifest.sources[0].id, manifest.sources[0].columns) == ("id", ("license",))
    kept = list(map(int, re.findall(r"keeps ([\d,]+)", told.replace(",", "").replace("  ", " "))))
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] > 50


def test_real_french_is_filtered_by_bounds_of_its_own(data_folder, tmp_path):
    import pyarrow.compute as pc

    table = pq.read_table(data_folder / "books.parquet")
    pq.write_table(table.filter(pc.equal(table["lang"], "fr")), tmp_path / "livres.parquet")
    manifest, _ = made("livres.parquet")
    assert [level.name for level in manifest.levels][:2] == ["raw", "french"]
    assert set(manifest.profiles) <= {"fineweb-2"}


def test_nothing_is_overwritten(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"text": text} for text in documents(ENGLISH, 30)])
    (tmp_path / "a.toml").write_text("mine")
    done = ran("init", "a.jsonl")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "a.toml: is there already; name another file with --out NAME.toml" in done.output
    assert (tmp_path / "a.toml").read_text() == "mine"


@pytest.mark.parametrize(("name", "raw", "said"), [
    ("absent.jsonl", None, "absent.jsonl: no such file, or a folder without files; check the path"),
    ("empty.jsonl", b"", "empty.jsonl: nothing but empty files; name files that hold text"),
    ("paper.docx", b"PK", "no known format (.docx); convert or rename the files"),
    ("numbers.jsonl", b'{"a": 1, "b": 2}\n' * 9, "no field holds text (it has a, b); name one that does with --text FIELD"),
    ("broken.jsonl", b"{nothing\n" * 9, "no field holds text (no row can be read)"),
    ("broken.parquet", b"PAR1 and no more", "no field holds text (no row can be read)"),
    ("blank.jsonl", b'{"text": ""}\n' * 9, "no field holds text (it has text)"),
])  # fmt: skip
def test_what_cannot_be_read_is_one_line_and_no_manifest(tmp_path, name, raw, said):
    if raw is not None:
        (tmp_path / name).write_bytes(raw)
    done = ran("init", name)
    assert done.exit_code in (1, 2)
    assert said in done.output
    assert done.output.count("\n") == 1
    assert not list(tmp_path.glob("*.toml"))


def test_too_little_text_is_said(tmp_path):
    write_lines(tmp_path / "little.jsonl", [{"text": "Hello there."}])
    write_lines(tmp_path / "enough.jsonl", [{"text": text} for text in documents(ENGLISH)])
    assert ["too little to build" in made(name)[1] for name in ("little.jsonl", "enough.jsonl")] == [
        True,
        False,
    ]


def test_the_text_may_be_named(tmp_path):
    rows = [{"text": "short", "long": text} for text in documents(ENGLISH)]
    write_lines(tmp_path / "a.jsonl", rows)
    assert made("a.jsonl", "--text", "long")[0].sources[0].text == "long"
    done = ran("init", "a.jsonl", "--text", "lnog", "--out", "b.toml")
    assert 'no field "lnog" (it has text, long)' in done.output


def test_the_answer_for_programs_names_the_manifest(tmp_path):
    write_lines(tmp_path / "a.jsonl", [{"text": text} for text in documents(ENGLISH, 30)])
    answer = json.loads(ran("init", "a.jsonl", "--json").output)
    assert load_manifest(answer["manifest"]).sources[0].name == "a"
