"""robots.txt as RFC 9309 reads it, asked of training: groups, the longest rule, wildcards, escapes, preferences."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import filters
from filters.models.robots import AGENTS, _matches, make_index, measure

BLOCKED = "User-agent: gptbot\nDisallow: /\n"


def said(tmp_path, text: str, path: str = "/a/b?c=d", **more) -> tuple[str | None, str | None]:
    model = tmp_path / "rules"
    make_index(pa.chunked_array([[text]]), pa.chunked_array([["https://h.org/robots.txt"]]), model)
    found = measure(pa.array([""]), pa.array([f"http://H.org:80{path}"]), str(model), **more)
    return tuple(found[f"robots_reserved{end}"][0].as_py() for end in ("", "_by"))


@pytest.mark.parametrize(
    ("text", "label", "by"),
    [
        ("", "silent", None),
        ("# none\n<html>Disallow: /</html>", "silent", None),
        (BLOCKED, "yes", "gptbot: disallow: /"),
        (" user-AGENT : GPTBot/1.1 # theirs\r\rDISALLOW:/a", "yes", "gptbot: disallow: /a"),
        ("Disallow: /", "silent", None),  # of no group
        ("User-agent: somebot\nDisallow: /", "silent", None),
        ("User-agent: *\nDisallow: /a/", "yes", "*: disallow: /a/"),
        ("User-agent: *\nDisallow: /b", "silent", None),
        ("User-agent: *\nDisallow:", "silent", None),
        ("User-agent: *\nDisallow: /a\nAllow: /a/b", "silent", None),
        ("User-agent: *\nAllow: /a\nDisallow: /a", "silent", None),  # as long
        ("User-agent: *\nDisallow: /*c=d$", "yes", "*: disallow: /*c=d$"),
        ("User-agent: *\nDisallow: /*c$", "silent", None),
        ("User-agent: *\nDisallow: /%61/%62", "yes", "*: disallow: /%61/%62"),
        ("User-agent: *\nCrawl-delay: 5\nUser-agent: GPTBot\nDisallow: /", "yes", "*: disallow: /"),  # one group
        ("User-agent: GPTBot\nDisallow: /x\n" + BLOCKED, "yes", "gptbot: disallow: /"),  # of two groups all rules
        ("User-agent: *\nContent-Usage: train-ai=n", "yes", "*: content-usage: train-ai=n"),
        ("User-agent: *\nContent-Usage: search=y", "silent", None),
        ("User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /a train-ai=y", "no",
         "*: content-usage: /a train-ai=y"),
        ("User-agent: *\nContent-Signal: search=yes,ai-train=no", "yes", "*: content-signal: search=yes,ai-train=no"),
        ("User-agent: *\nContent-Signal: ai-train=yes", "no", "*: content-signal: ai-train=yes"),
        ("User-agent: *\nContent-Signal: ai-train=yes\nDisallow: /", "yes", "*: disallow: /"),
    ],
)  # fmt: skip
def test_what_is_said_and_which_line_says_it(tmp_path, text, label, by):
    assert said(tmp_path, text) == (label, by)


def test_who_is_named_does_not_obey_what_all_others_do(tmp_path):
    text = "User-agent: *\nDisallow: /\nUser-agent: CCBot\nAllow: /"
    assert said(tmp_path, text)[0] == "yes", "most agents are not named"
    assert said(tmp_path, text, agents=["ccbot"])[0] == "silent"
    named = "".join(f"User-agent: {agent}\n" for agent in AGENTS) + "Allow: /\nUser-agent: *\nDisallow: /"
    assert said(tmp_path, named)[0] == "silent"
    assert said(tmp_path, named, agents=["mybot"])[0] == "yes"


def test_escapes_compare_as_characters_and_stars_of_addresses_are_none(tmp_path):
    for rule, path in (("/é", "/%c3%a9"), ("/%C3%A9", "/é"), ("/%2A", "/*"), ("/a%2fb", "/a%2Fb")):
        assert said(tmp_path, f"User-agent: *\nDisallow: {rule}", path)[0] == "yes", rule
    for rule, path in (("/a%2Fb", "/a/b"), ("/%2A", "/x"), ("/a%24", "/a")):
        assert said(tmp_path, f"User-agent: *\nDisallow: {rule}", path)[0] == "silent", rule


def test_the_last_answer_of_a_host_counts_and_who_has_none_is_unknown(tmp_path):
    texts, urls = [BLOCKED, "# none", ""], ["http://a.org/robots.txt", "https://A.org/robots.txt", "b"]
    assert make_index(pa.chunked_array([texts]), pa.chunked_array([urls]), tmp_path / "r") == {"hosts": 1}
    addresses = ["http://a.org/x", "http://b.org/", None, "no address", "http://[broken/"]
    table = filters.measure(
        [""] * 5, "robots", options={"robots": {"model": str(tmp_path / "r")}}, columns={"url": addresses}
    )
    assert table["robots_reserved"].to_pylist() == ["silent", "unknown", None, None, None]


@given(st.text("ab*$", max_size=8), st.text("ab", max_size=8))
def test_a_pattern_is_what_it_is_as_a_regular_expression(pattern, path):
    ends, body = pattern.endswith("$"), pattern.removesuffix("$")
    naive = ".*".join(map(re.escape, body.split("*"))) + ("$" if ends else "")
    assert _matches(pattern, path) == bool(re.match(naive, path))


def test_a_hostile_pattern_takes_no_time(tmp_path):
    assert said(tmp_path, "User-agent: *\nDisallow: /" + "*a" * 200 + "b", "/" + "a" * 2000)[0] == "silent"
