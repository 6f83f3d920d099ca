"""What pages say of being trained on: read from heads and `meta` elements, bounded by a level, counted in lock and summary."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("fastwarc", reason="the extra `web` is not installed")

from click.testing import CliRunner
from test_web import conversion, packed, read, response, with_source

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
    assert f"Other protocols, and how they were respected: {FILL}" in text["free"]
    assert "0 documents dropped" in text["raw"]
    assert "not known " in text["raw"]
    assert CliRunner().invoke(main, ["verify", "web.lock.json", "--replay"]).exit_code == 0


ROBOTS = """
[[robots]]
name = "answers"
format = "robots"
path = "robots/*.warc.gz"
[[level]]
name = "raw"
[[level]]
name = "open"
on = "raw"
keep = { robots_reserved = ["no", "silent"] }
"""


def answers(blocked: str) -> bytes:
    """Of h0 a refusal, of h1 none, of h2 an allowance, of h3 an error, of h4 a page that is no such file."""
    return packed([
        response("http://h0.org/robots.txt", b"User-agent: *\nAllow: /", more="", type="text/plain"),
        response("https://h0.org/robots.txt", f"User-agent: {blocked}\nDisallow: /".encode(), type="text/plain"),
        response("http://h1.org/robots.txt", b"<html>Not here", "404 Not Found"),
        response("http://h2.org/robots.txt", b"User-agent: *\nContent-Signal: ai-train=yes", type="text/plain"),
        response("http://h3.org/robots.txt", b"", "503 Service Unavailable"),
        response("http://h4.org/robots.txt", html(4)),
        response("http://h5.org/about/robots.txt", b"User-agent: *\nDisallow: /", type="text/plain"),
    ])  # fmt: skip


def test_a_level_bounds_what_robots_txt_says_and_lock_and_summary_count_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("robots").mkdir()
    Path("robots/a.warc.gz").write_bytes(answers("CCBot"))
    text = MANIFEST[: MANIFEST.index("[[level]]")] + ROBOTS + MANIFEST[MANIFEST.index("[sizes]") :]
    Path("web.toml").write_text(
        text.replace('columns = ["url", "reserved", "reserved_by"]', 'columns = ["url"]')
    )
    Path("a.warc").write_bytes(pages(6))
    Path("b.wet").write_bytes(
        conversion("http://h0.org/wet", html(100)[40:-20]) + conversion("http://h2.org/", html(9))
    )
    store, engine = Store(Path(".curate")), open_engine("local", 1)
    built = build(store, load_manifest(Path("web.toml")), engine)
    raw, free = built.lock["ledger"]["raw"], built.lock["ledger"]["open"]
    assert raw["crawl"]["robots_reserved"] == {"yes": 1, "no": 1, "silent": 2, "not known": 2}
    assert free["crawl"]["dropped"] == {"open.robots_reserved": 3}, "h0, h3 and h5"
    assert free["text"]["dropped"] == {"open.robots_reserved": 1}, "WET files carry addresses too"
    assert "ccbot: disallow: /" in built.annotated.values.column("robots_reserved_by").to_pylist()
    assert built.lock["models"]["robots"]["hosts"] == 4
    assert built.lock["models"]["robots"]["robots"]["answers"]["failed"]["http-error"]["count"] == 1
    done = CliRunner().invoke(main, ["summary", "web.lock.json", "--corpus", "open-all"])
    assert "robots.txt of their hosts: 4 documents dropped" in " ".join(done.stdout.split())
    assert CliRunner().invoke(main, ["verify", "web.lock.json", "--replay"]).exit_code == 0
    parts = built.annotated.pool.parts
    Path("robots/a.warc.gz").write_bytes(answers("somebot"))
    again = build(store, load_manifest(Path("web.toml")), engine)
    assert again.lock["ledger"]["open"]["crawl"]["dropped"] == {"open.robots_reserved": 2}, (
        "h0 may be read now"
    )
    assert [p.digest for p in again.annotated.pool.parts] == [p.digest for p in parts], (
        "and no page was read again"
    )


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (ROBOTS[: ROBOTS.index("[[level]]")], "[signals]\nrobots = true\n", r"add \[\[robots\]\] with name"),
        ('format = "robots"', 'format = "text"', '"url": format "text" has no fields'),
        (
            "[[robots]]",
            '[signals]\nrobots = { agents = ["CCBot", 1] }\n[[robots]]',
            "neither a string nor a list",
        ),
        ('format = "warc"', 'format = "python"', "robots reads the field url"),
    ],
)
def test_a_mistake_about_robots_is_one_error(tmp_path, right, wrong, said):
    lines = 'name = "web"\n[[source]]\nname = "crawl"\nformat = "warc"\npath = "a.warc"\n' + ROBOTS
    assert right in lines
    (tmp_path / "m.toml").write_text(lines.replace(right, wrong, 1))
    with pytest.raises(ManifestError, match=said):
        load_manifest(tmp_path / "m.toml")


def test_archives_that_are_looked_at_are_pages_and_no_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("crawl").mkdir()
    Path("crawl/a.warc").write_bytes(pages(60))
    done = CliRunner().invoke(main, ["init", "crawl"])
    assert done.exit_code == 0, done.output
    assert 'format = "warc"' in Path("crawl.toml").read_text()
