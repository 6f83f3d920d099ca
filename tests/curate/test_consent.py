"""What pages say of being trained on: read from heads and `meta` elements, bounded by a level, counted in lock and summary."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("fastwarc", reason="the extra `web` is not installed")

from click.testing import CliRunner
from test_web import conversion, read, response, with_source

from curate.cli import main
from curate.commands.training_content import FILL
from curate.engine import open_engine
from curate.errors import ManifestError
from curate.manifest.reader import load_manifest
from curate.sources.formats.consent import consent
from curate.spec.manifest import Source
from curate.steps import build
from curate.store import Store

USAGE, TAG, TDM, ROBOTS = "content-usage", "x-robots-tag", "tdm-reservation", "meta robots"


@pytest.mark.parametrize(
    ("said", "label", "by"),
    [
        ([], "silent", None),
        ([(USAGE, "train-ai=n")], "yes", "content-usage: train-ai=n"),
        ([(USAGE, "search=y, train-ai=n;exp=1")], "yes", "content-usage: search=y, train-ai=n;exp=1"),
        ([(USAGE, "bots=n, train-ai=y")], "no", "content-usage: bots=n, train-ai=y"),
        ([(USAGE, "bots=n")], "yes", "content-usage: bots=n"),
        ([(USAGE, "search=n")], "silent", None),
        ([(USAGE, "train-ai")], "silent", None),
        ([(TDM, "1")], "yes", "tdm-reservation: 1"),
        ([(TDM, "0")], "no", "tdm-reservation: 0"),
        ([(TDM, "maybe")], "silent", None),
        ([("meta tdm-reservation", "1"), (TDM, "0")], "yes", "meta tdm-reservation: 1"),
        ([(TAG, "NoAI, noimageai")], "yes", "x-robots-tag: NoAI, noimageai"),
        ([(TAG, "noimageai")], "other", "x-robots-tag: noimageai"),
        ([(ROBOTS, "noindex,nofollow"), (TDM, "0")], "other", "meta robots: noindex,nofollow"),
        ([(TAG, "somebot: noai")], "other", "x-robots-tag: somebot: noai"),
        ([(TAG, "unavailable_after: 25 Jun 2010 15:00:00 PST, noai")], "yes",
         "x-robots-tag: unavailable_after: 25 Jun 2010 15:00:00 PST, noai"),
        ([(TAG, "max-snippet: 5, noarchive")], "silent", None),
        ([(ROBOTS, "noai"), (TDM, "1")], "yes", "meta robots: noai; tdm-reservation: 1"),
        ([("meta description", "noai")], "silent", None),
    ],
)  # fmt: skip
def test_a_statement_is_what_it_says_and_nothing_is_guessed(said, label, by):
    assert consent(said) == {"reserved": label, "reserved_by": by}


def html(number: int, meta: str = "") -> bytes:
    chance = random.Random(number)
    words = " ".join(f"word{chance.randrange(500)}" for _ in range(120))
    return f"<html><head>{meta}</head><body><p>{words}.</p></body></html>".encode()


NOAI = '<META content="noai" name="Robots">'
HEADS = {
    1: "Content-Usage: train-ai=n\r\n",
    2: "X-Robots-Tag: noarchive\r\nx-robots-tag: noai\r\n",
    4: "TDM-Reservation: 0\r\n",
}


def pages(count: int) -> bytes:
    return b"".join(
        response(f"http://h{n}.org/", html(n, NOAI if n == 3 else ""), more=HEADS.get(n, ""))
        for n in range(count)
    )


COLUMNS = ("url", "reserved", "reserved_by")


def test_an_archive_carries_what_heads_and_pages_say(tmp_path):
    plain = response("http://p.org/", b"Plain words. tdm-reservation: 1", type="text/plain", more=HEADS[1])
    (tmp_path / "a.warc").write_bytes(pages(6) + plain)
    _, table = read(tmp_path, Source("s", "warc", (str(tmp_path),), columns=COLUMNS))
    assert table["reserved"].to_pylist() == ["silent", "yes", "yes", "yes", "no", "silent", "yes"]
    assert table["reserved_by"].to_pylist() == [
        None, "content-usage: train-ai=n", "x-robots-tag: noai", "meta robots: noai", "tdm-reservation: 0", None,
        "content-usage: train-ai=n",
    ]  # fmt: skip


def test_a_page_in_a_file_says_it_in_its_meta_elements(tmp_path):
    for name, meta in (("a", ""), ("b", NOAI), ("c", '<meta name="tdm-reservation" content="1">')):
        (tmp_path / f"{name}.html").write_bytes(html(1, meta))
    _, table = read(tmp_path, Source("s", "html", (str(tmp_path),), columns=COLUMNS[1:]))
    assert table["reserved"].to_pylist() == ["silent", "yes", "yes"]


def test_where_nobody_can_look_there_is_no_such_field(tmp_path):
    lines = 'format = "wet"\npath = "x"\ncolumns = ["reserved"]'
    with pytest.raises(ManifestError, match='"reserved": format "wet" has url'):
        load_manifest(with_source(tmp_path, lines))


MANIFEST = """
name = "web"
holdout = "none"
[[source]]
name = "crawl"
format = "warc"
path = "a.warc"
columns = ["url", "reserved", "reserved_by"]
[[source]]
name = "text"
format = "wet"
path = "b.wet"
[[level]]
name = "raw"
[[level]]
name = "free"
on = "raw"
keep = { reserved = ["no", "silent"] }
[sizes]
tokens = ["all"]
[tokenizer]
vocabulary = 258
"""


def test_a_level_bounds_it_and_lock_and_summary_count_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("web.toml").write_text(MANIFEST)
    Path("a.warc").write_bytes(pages(60))
    Path("b.wet").write_bytes(
        b"".join(conversion(f"http://w{n}.org/", html(100 + n)[40:-20]) for n in range(20))
    )
    lock = build(Store(Path(".curate")), load_manifest(Path("web.toml")), open_engine("local", 1)).lock
    raw, free = lock["ledger"]["raw"], lock["ledger"]["free"]
    assert raw["crawl"]["reserved"] == {"yes": 3, "no": 1, "silent": 56, "not known": 0}
    assert "reserved" not in raw["text"]
    assert free["crawl"]["reserved"] == {"no": 1, "silent": 56, "not known": 0}
    assert free["crawl"]["dropped"] == {"free.reserved": 3}
    assert free["text"]["dropped"] == {"free.reserved": 20}, "nobody looked: null passes no bound"
    text = {}
    for level in ("raw", "free"):
        done = CliRunner().invoke(main, ["summary", "web.lock.json", "--corpus", f"{level}-all"])
        text[level] = " ".join(done.stdout.split())
    assert "23 documents dropped by rules about them" in text["free"]
    assert f"other protocols, and how they were respected: {FILL}" in text["free"]
    assert "0 documents dropped" in text["raw"]
    assert "not known " in text["raw"]
    assert CliRunner().invoke(main, ["verify", "web.lock.json", "--replay"]).exit_code == 0
