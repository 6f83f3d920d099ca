"""Web addresses: those in a text, and what a document's own says, with lists of domains and words."""

from __future__ import annotations

import hostile
import naive_urls as naive
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.heuristics import blocklists, urls

PIECES = [
    "http://", "HTTPS://", "ftp://", "sftp://", "www.", "WWW.", "xwww.", "a.b", "example.org/a?b=1#c", ".", ",", ")", "]",
    "*", "'", '"', "<", ">", " ", "\n", "\u3000", "é", "漢", ":", "/", "://", "s", "http", "p", "hh", "3",
]  # fmt: skip


def compare(texts: list[str]) -> None:
    measured = urls.FAMILY.measure(pa.array(texts, pa.large_string()))
    for i, text in enumerate(texts):
        expected = naive.urls(text)
        in_bytes = [(len(text[:a].encode()), len(text[:b].encode())) for a, b in expected]
        assert [(s["start"], s["end"]) for s in measured["url_spans"][i].as_py()] == in_bytes, text
        assert measured["url_count"][i].as_py() == len(expected)
        covered = sum(b - a for a, b in expected)
        assert measured["url_character_ratio"][i].as_py() == (covered / len(text) if text else 0.0)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), max_size=4))
def test_random_texts_have_the_addresses_of_the_plain_definition(texts):
    compare(texts)


def test_hostile_texts_have_the_addresses_of_the_plain_definition():
    compare([*hostile.texts().values(), "http://a " * 100, "www." * 1000, "http://" * 1000])


def test_real_documents_have_the_addresses_of_the_plain_definition(data_folder):
    compare(pq.read_table(data_folder / "web_mix_small.parquet", columns=["text"])["text"].to_pylist())


URLS = [
    "https://www.example.org/a/b.html?q=1", "http://sub.Bad.example.net:8080/x", "bad.example.net", "http://notbad.example.net/",
    "https://user@site.test/news/sport/1", "plain.test:8080/x", "localhost:80", "user:word@plain.test:1/x", "https://site.test/newspaper", "https://site.test./News", "", None,
]  # fmt: skip


def column(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def test_an_own_address_is_described_and_null_where_there_is_none():
    rows = pa.table(urls.measure_own(column([""] * len(URLS)), column(URLS))).to_pylist()
    assert rows[0] == {
        "own_url_length": 36,
        "own_url_host_labels": 3,
        "own_url_path_depth": 2,
        "own_url_digit_ratio": 1 / 36,
    }
    assert rows[1]["own_url_host_labels"] == 4
    assert rows[2]["own_url_path_depth"] == 0
    assert set(rows[-1].values()) == {None}


@pytest.mark.parametrize(
    "entries",
    [
        ["plain.test", "localhost"],
        ["bad.example.net"],
        ["net", "example.org/"],
        ["site.test/news", "site.test/news/sport"],
        ["org", "x"],
    ],
)
def test_a_list_blocks_domains_with_their_subdomains_and_parts_of_sites(entries, tmp_path):
    path = tmp_path / "domains.txt"
    path.write_text("# blocked\n\n" + "\n".join(entry.upper() for entry in entries) + "\n")
    found = blocklists.measure(column([""] * len(URLS)), column(URLS), str(path))
    assert found["url_blocked_domain_count"].to_pylist() == [naive.blocked(url, entries) for url in URLS]
    assert set(found["url_blocked_word_count"].to_pylist()) == {0}


def test_the_host_is_found_with_and_without_a_scheme_and_a_port():
    own = ["plain.test:8080/x", "http:plain.test/x", "//plain.test:1", " HTTPS://Plain.test:443?x", "plain.test", "a:b@plain.test:9/",
           "http://[::1]:80/x", "ftp:plain.test"]  # fmt: skip
    hosts, paths = urls.parsed(column(own))
    assert hosts.to_pylist() == ["plain.test"] * 6 + ["[::1]", "plain.test"]
    assert paths.to_pylist() == ["/x", "/x", "", "", "", "/", "/x", ""]


BLOCKED = """\ufeff! Title: a list
[Adblock Plus 2.0]
127.0.0.1 localhost
::1 ip6-localhost ip6-loopback
0.0.0.0 hosts.test other.test # two of them
*.wild.test
.dotted.test
||ads.test^
||part.test/path^
https://user@Ported.test:8443/
ported.test
"""


def test_lists_are_understood_as_lists_on_the_web_are_written(tmp_path):
    path = tmp_path / "domains.txt"
    path.write_text(BLOCKED, encoding="utf-8")
    blocked = ["hosts.test", "a.other.test:80/x", "wild.test", "http://x.wild.test", "dotted.test", "sub.ads.test",
               "part.test/path/more", "ported.test:9"]  # fmt: skip
    free = ["localhost", "nothosts.test", "part.test/pathway", "two.test", "list", None]
    found = blocklists.measure(column([""] * 14), column(blocked + free), str(path))
    assert found["url_blocked_domain_count"].to_pylist() == [1] * 8 + [0] * 6


@pytest.mark.parametrize(
    "spellings",
    [["xn--bcher-kva.test", "bücher.test", "BÜCHER.test", "bücher.test"],
     ["xn--j2bd4cyah0f.xn--h2brj9c", "हिन्दी.भारत"], ["xn--fiqs8s", "中国"]],
)  # fmt: skip
def test_a_domain_is_the_same_in_punycode_and_in_unicode(spellings, tmp_path):
    path = tmp_path / "domains.txt"
    for listed in spellings:
        path = tmp_path / f"{spellings.index(listed)}.txt"
        path.write_text(f"{listed}\n{listed}/part\n", encoding="utf-8")
        assert len(blocklists.read_domains(path)) == 2
        for met in spellings:
            own = [f"https://a.{met}/x", f"{met}:80/part/y", "https://xn--other.test/", "https://xn--.test/"]
            found = blocklists.measure(column([""] * 4), column(own), str(path))
            assert found["url_blocked_domain_count"].to_pylist() == [1, 2, 0, 0], (listed, met)


@pytest.mark.parametrize("label", ["xn--a", "xn--abc-", "xn--"])
def test_a_label_that_is_no_punycode_of_a_name_stays(label, tmp_path):
    path = tmp_path / "domains.txt"
    path.write_text(f"{label}.test\n")
    assert blocklists.read_domains(path) == [f"{label}.test"]


@pytest.mark.parametrize(
    "line",
    [
        "@@||good.test^", "||ads.test^$third-party", "site.test##.banner", "/banner[0-9]+/", "ad*.test", "a.test b.test", "a..test",
        "site.test/?ad=1", "address=/bad.test/0.0.0.0", "a.test,malware", "0.0.0.0 bad$.test", "||ads.test^*/x",
    ],
)  # fmt: skip
def test_a_line_that_a_list_of_domains_cannot_say_is_refused_by_its_number(line, tmp_path):
    path = tmp_path / "domains.txt"
    path.write_text(f"# a list\n\nfirst.test\n{line}\n")
    with pytest.raises(ValueError, match="^line 4, ") as error:
        blocklists.read_domains(path)
    assert f'"{line}"' in str(error.value)


def test_words_are_looked_for_between_marks_and_counted_once(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("casino\nFree\n")
    own = ["http://free-casino.test/casino?free", "http://casinos.test", "http://freecasino.test", None]
    found = blocklists.measure(column([""] * 4), column(own), words=str(path))
    assert found["url_blocked_word_count"].to_pylist() == [2, 0, 0, 0]


def test_a_list_that_changes_is_read_again(tmp_path):
    path = tmp_path / "domains.txt"
    path.write_text("a.test\n")
    first = blocklists.measure(column([""]), column(["http://a.test"]), str(path))
    path.write_text("bbbb.test\n")
    import os

    os.utime(path, ns=(1, 1))
    second = blocklists.measure(column([""]), column(["http://a.test"]), str(path))
    assert [m["url_blocked_domain_count"][0].as_py() for m in (first, second)] == [1, 0]
