"""The summary of training content says what the corpus and its lock know, marks all else, and shows nothing of the house."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from months import MANIFEST, answer, begin, page, refusal

from curate.cli import main
from curate.commands import training_content as tc
from curate.corpora.corpus import open_arrow

ASKED = MANIFEST.replace("LEAST", "30").replace(
    'path = "pages.jsonl"', 'path = "pages.jsonl"\ncolumns = ["url", "date"]'
)
ASKED = ASKED.replace('tokens = ["1k", "3k"]', 'tokens = ["1k", "all"]')


@pytest.fixture(scope="module")
def lock(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = begin(tmp_path_factory.mktemp("secret-house"), patch)
        rows = [
            {
                "text": page(n),
                "url": f"https://www.host{n % 25}.test/{n}" if n % 10 else None,
                "date": f"2026-01-{n % 28 + 1:02d}",
            }
            for n in range(150)
        ]
        Path("pages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        Path("month.toml").write_text(ASKED)
        answer("build", "month.toml", "--workers", "1")
        yield folder


def test_what_is_known_is_counted_from_the_corpus(lock, monkeypatch):
    monkeypatch.chdir(lock)
    found = answer("summary", "month.lock.json")
    general, (source,), domains = found["general"], found["sources"], found["domains"]
    assert found["corpus"] == "raw-all"
    assert general["size"] == "less than 1 billion tokens"
    assert general["period"][0] < general["period"][1] <= "2026-01-28"
    assert (source["tokens"], source["share"]) == (general["tokens"], 1.0)
    texts = {text: n for n in range(150) for text in [page(n)]}
    sizes: Counter = Counter()
    for text in open_arrow(next(Path(".curate/corpora").glob("raw-all-*")))["text"].to_pylist():
        number = texts[text]
        sizes[f"host{number % 25}.test" if number % 10 else ""] += len(text)
    hosts = {host: size for host, size in sizes.items() if host}
    assert domains["domains"] == len(hosts)
    assert [one["domain"] for one in domains["top"]] == sorted(hosts, key=lambda h: (-hosts[h], h))[
        : -(-len(hosts) // 10)
    ]
    assert domains["top"][0]["share"] == pytest.approx(max(hosts.values()) / sum(sizes.values()))


def test_what_is_not_known_is_null_and_marked(lock, monkeypatch):
    monkeypatch.chdir(lock)
    found = answer("summary", "month.lock.json", "--corpus", "long-1k")
    for name in ("provider", "model", "placed_on_market", "languages", "ongoing"):
        assert found["general"][name] is None
    (source,) = found["sources"]
    assert (source["kind"], source["license"], source["section"]) == (None, None, None)
    assert found["processing"]["rights_reservations"] is found["processing"]["illegal_content"] is None
    (rule,) = found["processing"]["rules"]
    assert rule["rule"] == "long.word_count"
    assert rule["dropped"] > 0
    text = CliRunner().invoke(main, ["summary", "month.lock.json", "--corpus", "long-1k"]).stdout
    assert text.count(tc.FILL) > 12
    for section in ("## 1. General information", "## 2. Data sources", "## 3. Processing"):
        assert section in text


def test_nothing_of_the_machine_is_in_it(lock, monkeypatch):
    monkeypatch.chdir(lock)
    text = CliRunner().invoke(main, ["summary", "month.lock.json"]).stdout
    assert "secret-house" not in text + json.dumps(answer("summary", "month.lock.json"))
    assert "pages.jsonl" not in text
    assert [tc._is_on_the_hub(path, lock) for path in ("pages.jsonl", "/data/x", ".curate/corpora", "owner/name")] == [
        False, False, False, True,
    ]  # fmt: skip


def test_a_period_is_said_of_dates_alone():
    def period(*dates):
        return tc._period(pa.table({"date": pa.array(dates, pa.string())}))

    assert period("2026-02-01T10:00:00Z", None, "2025-12-31") == ["2025-12-31", "2026-02-01"]
    assert period("2026-02-01", "Mon, 5 Jan 2026") is period(None) is None


def test_documents_without_addresses_have_no_domains(lock, monkeypatch):
    monkeypatch.chdir(lock)
    assert tc._domains(pa.table({"text": ["a"]})) is None
    assert (
        tc._domains(pa.table({"text": ["a", "b"], "url": pa.array([None, "http://["], pa.string())})) is None
    )
    assert "carry no address" in tc._domains_text(None)


def test_a_corpus_that_is_none_of_the_lock_is_said(lock, monkeypatch):
    monkeypatch.chdir(lock)
    assert 'did you mean "long-1k"' in refusal("summary", "month.lock.json", "--corpus", "lang-1k")
