"""Sources that grow, shrink and change by files: what is new is read, measured and encoded, and the answer is that of a
build from zero, bit for bit."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from curate.engine import open_engine
from curate.manifest.reader import load_manifest
from curate.sources.cut import MANY, groups, mark_of
from curate.sources.pool import gather_pieces
from curate.steps import build
from curate.store import Store, read_json

FILES, PART = 120, 40_000  # bytes, of a chunk of tokens too
MANIFEST = """
name = "growing"
[[source]]
name = "pages"
format = "jsonl"
path = "pages"
[parts]
bytes = "40 kB"
[signals]
near_duplicates = { similarity = 0.7 }
repeated_spans = true
[[level]]
name = "raw"
[[level]]
name = "unique"
on = "raw"
profiles = ["gopher-repetition"]
keep = { duplicate_novelty = [0.05, 1] }
[[level]]
name = "cut"
on = "raw"
cut = ["repeated_spans"]
[tokenizer]
path = "tokenizer.json"
[sizes]
tokens = ["20k", "all"]
[holdout]
tokens = "2k"
"""
STEPS = {
    "add": lambda pages: write_file(pages / "page-060b.jsonl", 1060),
    "add-last": lambda pages: write_file(pages / "page-999.jsonl", 1999),
    "remove": lambda pages: (pages / "page-061.jsonl").unlink(),
    "change": lambda pages: write_file(pages / "page-062.jsonl", 1062),
}


def write_file(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        " ".join(f"w{chance.randrange(3000)}" for _ in range(chance.randrange(20, 120))) for _ in range(12)
    ]
    of_all = random.Random(seed % 7)  # what other files have as well, nearly
    rows += [" ".join(f"w{of_all.randrange(3000)}" for _ in range(80)) + f" and w{seed}"]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path) -> Path:
    from train.tokens import train_tokenizer

    (tmp_path / "pages").mkdir()
    for number in range(FILES):
        write_file(tmp_path / f"pages/page-{number:03d}.jsonl", number)
    train_tokenizer(["w1 w2 w3 and w4"] * 50, 260, tmp_path / "tokenizer.json")
    (tmp_path / "growing.toml").write_text(MANIFEST)
    return tmp_path


def built(folder: Path, store: str = "store"):
    return build(Store(folder / store), load_manifest(folder / "growing.toml"), open_engine("local", 1))


def made(store: Path) -> dict[str, dict[str, int]]:
    """{stage: {key: rows}} of what lies in a store."""
    found: dict[str, dict[str, int]] = {}
    for path in store.rglob("*.json"):
        receipt = read_json(path)
        if isinstance(receipt, dict) and "parts" in receipt:
            stage = str(path.parent.relative_to(store))
            found.setdefault(stage, {})[path.stem] = sum(part["rows"] for part in receipt["parts"])
    return found


def again(before: dict, after: dict, stage: str) -> float:
    """The share of a stage's rows that was made anew."""
    new = {key: rows for key, rows in after[stage].items() if key not in before[stage]}
    return sum(new.values()) / sum(before[stage].values())


def counting(read: list[int]):
    """`gather_pieces` that says of how many documents it read something."""

    def gather(parts, part, row, column):
        read.append(len(row))
        return gather_pieces(parts, part, row, column)

    return gather


@pytest.mark.parametrize(
    "step", [pytest.param(s, marks=pytest.mark.slow if s in ("add-last", "change") else ()) for s in STEPS]
)
def test_what_is_new_is_read_measured_and_encoded_and_the_answer_is_that_of_a_build_from_zero(
    folder, step, monkeypatch
):
    monkeypatch.setattr("curate.corpora.tokenization.CHUNK_BYTES", PART)
    read: list[int] = []
    for name in ("curate.duplicates.resolve.gather_pieces", "curate.duplicates.novelty.gather_pieces"):
        monkeypatch.setattr(name, counting(read))
    first = built(folder)
    candidates = sum(read)
    read.clear()
    before = made(folder / "store")
    STEPS[step](folder / "pages")
    grown = built(folder)
    assert grown.lock["sources"] != first.lock["sources"]
    after = made(folder / "store")
    for stage in ("documents", "signals/repetition", "signals/signatures", "bands", "tokens"):
        assert again(before, after, stage) < 0.2, stage
    assert 0 < sum(read) < 0.4 * candidates, "of texts that have been clustered before none is read"
    whole = built(folder, "another")
    assert grown.lock == whole.lock
    assert [c.digest for c in grown.corpora] == [c.digest for c in whole.corpora]


def cuts(names: list[str], sizes: dict[str, int]) -> set[tuple[str, ...]]:
    some = groups(map(mark_of, names), [sizes[name] for name in names], 64_000_000)
    return {tuple(names[group]) for group in some}


def test_a_group_is_bounded_by_number_and_by_size_and_borders_stay_where_files_come_and_go():
    chance = random.Random(4)
    names = [f"{number:05d}" for number in range(3000)]
    sizes = {name: int(3_000 * 100 ** chance.random()) for name in names}
    found = cuts(names, sizes)
    assert sum(map(len, found)) == len(names)
    assert all(len(group) <= MANY for group in found)
    assert 60 < len(found) < 300, "no tiny parts of tiny files"
    sizes |= {f"{name}b": 50_000 for name in names}
    for name in names[5::100]:
        for other in (sorted([*names, f"{name}b"]), [n for n in names if n != name]):
            assert len(cuts(other, sizes) - found) <= 3


def test_a_file_larger_than_a_part_ends_its_group():
    assert [g.stop for g in groups(map(mark_of, "abcdef"), [1, 99, 1, 99, 99, 99], 90)] == [2, 4, 5, 6]
