"""Private spans are found by form and check, exactly, and what only looks like one is not."""

from __future__ import annotations

import os
from pathlib import Path

import hostile
import naive_private as naive
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.heuristics import private


def found(texts: list[str]) -> list[dict[str, list[tuple[int, int]]]]:
    columns = private.measure(pa.array(texts, pa.large_string()))
    return [
        {
            kind: [(s["start"], s["end"]) for s in columns[f"{kind}_spans"][row].as_py()]
            for kind in private.KINDS
        }
        for row in range(len(texts))
    ]


def told(text: str) -> list[str]:
    """Every span of a text, as text."""
    (one,) = found([text])
    return [text.encode()[a:b].decode() for spans in one.values() for a, b in spans]


GITHUB = "ghp_" + "aB3" * 12
TOKEN = "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIVATE KEY-----"

IS = [
    "joe.doe+x@example.co.uk", "a_b%c@x-y.org", "8.8.8.8", "2001:4860:4860::8888", "2a00:1450:4001:81b:0:0:0:200e",
    "+49 (30) 1234-5678", "+1 415 555 2671", "(212) 555-1234", "(212)555-1234", "212-555-1234", "212.555.1234",
    "4111 1111 1111 1111", "4111111111111111", "5500-0000-0000-0004", "378282246310005", "6011111111111117",
    "DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947",
    "AKIAIOSFODNN7EXAMPLE", GITHUB, TOKEN, PEM, "xoxb-123456789012-abcdefghij", "AIza" + "b7_" * 11 + "xy",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc", "sk-" + "proj4Ab" * 6,
]  # fmt: skip

IS_NOT = [
    "@joe", "joe@localhost", "joe@example.c", "joe@-x.com", "joe@x..com", "a b@.com", "x@1.2.3.256",
    "10.0.0.1", "192.168.1.1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "08.8.8.8", "v8.8.8.8x", "127.0.0.1", "224.0.0.1",
    "12:30:45", "std::cafe::x", "2001:db8::1:2", "fe80::1:2", "2001:4860:4860", "face:b00c",
    "+0 123 456 789", "x+1 415 555 2671", "+12 34", "123-456-7890", "212-555-12345", "1212-555-1234", "+1234567890123456",
    "4111 1111 1111 1112", "4111 1111-1111 1111", "1234567812345670", "0.4111111111111111", "4111111111111111x",
    "DE89370400440532013001", "XX82WEST12345698765432", "DE8937040044053201300", "xDE89370400440532013000",
    "AKIAshort", "xAKIAIOSFODNN7EXAMPLE", "ghp_short", "sk-learn-is-a-library-for-machine-learning-in-python",
    "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "-----BEGIN PRIVATE KEY-----\nno end",
]  # fmt: skip


@pytest.mark.parametrize("text", IS)
@pytest.mark.parametrize("around", ["{}", "see {}.", "« {} »", "{}, and {}"])
def test_what_is_private_is_found_whatever_stands_around_it(text, around):
    assert told(around.format(text, text)) == [text] * around.count("{}")


@pytest.mark.parametrize("text", IS_NOT)
def test_what_only_looks_private_is_not_found(text):
    assert told(f"see {text} there") == []


PIECES = st.sampled_from(
    [
        *IS,
        *IS_NOT,
        " ",
        " ",
        "\n",
        ".",
        "-",
        "@",
        "+",
        "(",
        ")",
        ":",
        "_",
        "1",
        "4",
        "a",
        "Z",
        "é",
        "中",
        "eyJ",
        "::",
    ]
)


def test_brackets_around_a_whole_number_hide_nothing():
    assert told("(212-555-1234)") == told("(call 212-555-1234)") == ["212-555-1234"]


@settings(max_examples=1000, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_random_texts_hold_what_the_plain_rules_find(text):
    assert found([text]) == [naive.private(text)]


@settings(max_examples=500, deadline=None)
@given(st.text("@.-_+%ab1", max_size=60))
def test_random_addresses_are_what_the_plain_rules_find(text):
    assert found([text]) == [naive.private(text)]


def test_hostile_texts_hold_what_the_plain_rules_find():
    texts = [*hostile.texts().values()]
    assert found(texts) == [naive.private(text) for text in texts]


def test_real_documents_hold_what_the_plain_rules_find():
    if not (folder := os.environ.get("CURATE_DATA")):
        pytest.skip("CURATE_DATA does not name a folder of real text")
    texts = pq.read_table(Path(folder) / "web_mix_small.parquet", columns=["text"])["text"][:1500].to_pylist()
    assert found(texts) == [naive.private(text) for text in texts]


def test_counts_are_the_numbers_of_spans():
    columns = private.measure(pa.array([" ; ".join(IS), "", None], pa.large_string()))
    for kind in private.KINDS:
        assert columns[f"{kind}_count"].to_pylist() == [len(s) for s in columns[f"{kind}_spans"].to_pylist()]
    assert columns["private_count"].to_pylist() == [len(IS), 0, 0]


REPEATED = [
    "eyJ",
    "ghp_",
    "github_pat_",
    "xoxb-",
    "sk-",
    "AKIA",
    "+1",
    "1111:",
    "a@",
    "@a.",
    "-----BEGIN ",
    "1.2.3.4.",
    "DE89",
    "4111 ",
]


@pytest.mark.parametrize("text", [*hostile.huge().values(), *(piece * (400_000 // len(piece)) for piece in REPEATED)],
                         ids=[*hostile.huge(), *REPEATED])  # fmt: skip
def test_no_text_takes_more_than_linear_time(text):
    assert len(private.measure(pa.array([text], pa.large_string()))["private_count"]) == 1


def test_a_level_may_mask_what_is_private():
    from filters.edits import edit

    text = "Write to joe@example.org or call +49 30 123456."
    columns = private.measure(pa.array([text], pa.large_string()))
    masked = edit(
        pa.array([text], pa.large_string()),
        [columns["email_spans"], columns["phone_number_spans"]],
        ["[EMAIL]", "[PHONE]"],
    )
    assert masked.to_pylist() == ["Write to [EMAIL] or call [PHONE]."]
