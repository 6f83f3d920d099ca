"""The page: true to its facts, honest about what is missing or unclear, safe with hostile documents."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from inverse import tokens_for

from curate.differences import in_one_line, marked_difference, runs_of
from curate.report import charts, layout
from curate.report.facts import facts as gather
from curate.results import words as words_of
from curate.results.tuning import tuned
from train import fits
from train.tokens import Packed

SIZES = {"400k": 400_000, "800k": 800_000, "1.6M": 1_600_000, "3.2M": 3_200_000}
HOSTILE = (
    'Free </pre><script>alert("pwned")</script> <img src=x onerror=alert(1)> {{ 7 * 7 }} & "quotes" $x_1$\x00'
)
LEVELS = ("raw", "english", "filtered", "unique")
# On clean text every step helps; on raw text filtering takes away what the holdout still holds.
LAWS = {
    "unique": [(2.0, 60.0), (1.995, 58.5), (1.97, 54.0), (1.95, 52.5)],
    "raw": [(2.2, 70.0), (2.2, 70.0), (2.25, 73.0), (2.26, 74.0)],
}


def pack(folder: Path, offsets: np.ndarray) -> None:
    """Packed tokens of documents that end there; all of them the same token."""
    tokens = np.ones(offsets[-1], np.uint16)
    Packed.write(folder, tokens, offsets, np.diff(offsets), vocabulary=2, end=0)


def runs(
    directory: Path | None = None, seeds: int = 3, noise: float = 0.006, laws: dict = LAWS
) -> list[dict]:
    """A grid as training leaves it; with a directory, the losses of single documents lie there too."""
    rng = np.random.default_rng(5)
    hard, lengths = rng.normal(0, 0.4, 250), np.ceil(rng.lognormal(5.5, 0.7, 250))
    packed = {name: directory / "packed" / name for name in laws} if directory else {}
    for folder in packed.values():
        pack(folder, np.concatenate([[0], lengths.cumsum()]).astype(np.int64))
    cell = {"cell": {"holdouts": {name: str(folder) for name, folder in packed.items()}}} if directory else {}
    found = []
    for row, level in enumerate(LEVELS):
        for seed in range(1, seeds + 1):
            trunk = rng.normal(0, noise)
            for size in SIZES.values():
                place = {"level": level, "size": size, "seed": seed}
                folder = directory / level / str(seed) / str(size) if directory else None
                losses = {}
                for name, law in laws.items():
                    taste = np.random.default_rng([row, len(name)]).normal(0, 0.05, 250)
                    loss = float(fits.Law(*law[row], 0.26).loss(size)) + trunk + rng.normal(0, noise / 2)
                    nats = lengths * (loss + hard + taste)
                    mean = float(nats.sum() / lengths.sum())
                    losses[name] = {
                        "nats_per_token": mean,
                        "bits_per_byte": mean / np.log(2) / 3.9,
                        "documents": 250,
                        "tokens": int(lengths.sum()),
                        "bytes": int(lengths.sum() * 3.9),
                    }
                    if folder:
                        folder.mkdir(parents=True, exist_ok=True)
                        np.save(folder / f"holdout-{name}.npy", nats)
                found.append(
                    place
                    | {
                        "tokens_trained": size,
                        "parameters": 1_870_000,
                        "losses": losses,
                        "seconds": size / 9000,
                        "tokens_per_second": 9000.0,
                        "flops": 11e6 * size,
                    }
                    | ({"directory": str(folder)} | cell if folder else {})
                )
    return found


def rule(name: str, bound, dropped: int, alone: int) -> dict:
    return {"rule": name, "bound": bound, "dropped": dropped, "dropped_bytes": dropped * 5200, "alone": alone}


def level(name: str, on: str | None, documents: int, *rules: dict) -> dict:
    return {"name": name, "on": on, "documents": documents, "bytes": documents * 5200, "rules": list(rules)}


def lock() -> dict:
    levels = [
        level("raw", None, 24067),
        level(
            "english",
            "raw",
            17420,
            rule("language", ["en"], 5210, 5210),
            rule("language_score", [0.65, None], 1437, 6120),
        ),
        level(
            "filtered",
            "english",
            11310,
            rule("gopher-quality.core_word_count", [50, 100000], 2310, 2310),
            rule("gopher-quality.mean_word_length", [3, 10], 905, 1422),
            rule("gopher-quality.bullet_line_ratio", [None, 0.9], 310, 702),
            rule("gopher-repetition.top_2_gram_ratio", [None, 0.2], 1222, 2510),
            rule("fineweb.short_line_ratio", [None, 0.67], 1363, 3004),
        ),
        level("unique", "filtered", 8124, rule("duplicate", [False], 3186, 3186)),
    ]
    sources = {"docs": 14067, "books": 10000}
    ledger = {
        one["name"]: {
            s: {"in": n, "kept": round(n * one["documents"] / 24067), "dropped": {}, "failed": 0}
            for s, n in sources.items()
        }
        for one in levels
    }
    return {
        "name": "web-mix",
        "manifest": {
            "path": "web-mix.toml",
            "sha256": "5f" * 32,
            "text": 'name = "web-mix"\n# 1 < 2 & "so on"\n',
        },
        "curate": "0.1.0",
        "environment": {"python": "3.11.2", "packages": {"torch": "2.9.0", "numpy": "2.3.1"}},
        "sources": {
            name: {
                "format": "parquet",
                "documents": n,
                "bytes": n * 5200,
                "files": 3,
                "digest": "ab" * 32,
                "failed": {
                    "not UTF-8": {"count": 12, "samples": [{"at": "part-3.jsonl:88", "why": "byte 0xff"}]}
                }
                if name == "docs"
                else {},
            }
            for name, n in sources.items()
        },
        "models": {"lid.176": "cd" * 32},
        "signals": {"words": {"version": 1, "parameters": {}, "digest": "ef" * 32}},
        "levels": levels,
        "ledger": ledger,
        "holdouts": {
            n: {"level": n, "documents": 250, "tokens": 78_120, "bytes": 301_000, "digest": "12" * 32}
            for n in ("raw", "unique")
        },
        "tokenizer": {"vocabulary": 4096, "trained_on": "raw", "sha256": "34" * 32},
        "corpora": [
            {
                "level": one,
                "size": label,
                "budget": size,
                "documents": size // 900,
                "tokens": size,
                "bytes": size * 4,
                "digest": "56" * 32,
            }
            for one in LEVELS
            for label, size in SIZES.items()
        ],
        "warnings": ['level "filtered": gopher-quality.hash_ratio never fires'],
    }


def examples() -> dict:
    prose = (
        "The river had been rising since noon, and by the time the ferryman tied up his boat the lower "
        "fields were under water. Nobody in the village could remember such a spring.\n\nIn the evening "
        "the schoolmaster wrote down the height of the water, as he had done every day for thirty years."
    )
    menu = "Home\nAbout us\nProducts\nContact\n" * 6
    document = {"id": "a1", "source": "docs", "place": "docs/part-1.parquet:812"}
    return {
        "levels": {
            "filtered": {
                "gopher-quality.core_word_count": {
                    "dropped": [
                        document
                        | {"text": prose[:180], "signals": {"core_word_count": 49}, "just": "outside"},
                        document | {"text": HOSTILE, "signals": {"core_word_count": 3}, "just": "far"},
                    ]
                },
                "fineweb.short_line_ratio": {
                    "dropped": [
                        document | {"text": menu, "signals": {"short_line_ratio": 0.98214}, "just": "far"}
                    ]
                },
                "gopher-quality.bullet_line_ratio": {"dropped": []},
                "kept": [document | {"text": prose, "signals": {}, "cut": True}],
            }
        },
        "near_duplicates": [
            {
                "id": "a1",
                "of": "b7",
                "similarity": 0.8125,
                "kind": "template",
                "cluster": 3,
                "text": prose + HOSTILE,
                "of_text": prose.replace("ferryman", "miller").replace("thirty", "forty"),
            }
        ],
    }


@pytest.fixture(scope="module")
def facts(tmp_path_factory) -> dict:
    return gather(lock(), runs(tmp_path_factory.mktemp("runs")), examples())


@pytest.fixture(scope="module")
def page(facts) -> str:
    return layout.render(facts)


class Elements(HTMLParser):
    """Every element with its attributes, and what is left open at the end."""

    VOID = {"meta", "br", "img", "link", "input", "wbr"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def words(page: str) -> str:
    return " ".join(Elements(page).text.split())


def test_the_headline_states_the_rate_with_its_interval_on_every_holdout(facts, page):
    on_unique = next(s for s in facts["statements"] if "held-out unique" in s)
    assert re.search(r"one token of unique is worth \d\.\d\d \[\d\.\d\d, \d\.\d\d\] tokens of raw", on_unique)
    assert "not distinguishable" not in on_unique
    assert len(facts["statements"]) == 2
    for sentence in facts["statements"]:
        assert sentence in words(page)


def test_the_headline_rate_is_near_the_truth(facts):
    clean, raw = fits.Law(1.95, 52.5, 0.26), fits.Law(2.0, 60.0, 0.26)
    rate = next(e["rate"] for e in facts["holdouts"]["unique"]["exchange"] if e["level"] == "unique")
    truth = SIZES["3.2M"] / tokens_for(clean, float(raw.loss(SIZES["3.2M"])))
    assert rate["low"] < truth < rate["high"]
    assert rate["low"] > 1


def width(holdout: dict) -> float:
    gap = holdout["exchange"][-1]["difference"]
    return gap["high"] - gap["low"]


def test_the_choice_of_documents_counts_in_comparisons_but_not_in_the_curves(tmp_path):
    with_documents = gather(lock(), runs(tmp_path), {})["holdouts"]["unique"]
    without = gather(lock(), runs(), {})["holdouts"]["unique"]
    assert with_documents["levels"] == without["levels"]
    assert width(with_documents) > 1.1 * width(without)
    assert with_documents["caveats"] == []
    assert "single documents" in without["caveats"][0]


def test_lengths_of_documents_are_taken_from_what_the_runs_were_scored_on(tmp_path):
    there = runs(tmp_path)
    known = gather(lock(), there, {})["holdouts"]["unique"]
    shutil.rmtree(tmp_path / "packed")
    unknown = gather(lock(), there, {})["holdouts"]["unique"]
    assert width(known) < width(unknown)


def test_filtering_that_costs_on_raw_text_is_said_to_cost(facts):
    rate = next(e["rate"] for e in facts["holdouts"]["raw"]["exchange"] if e["level"] == "unique")
    assert rate["rate"] < 1


def test_levels_inside_the_noise_are_not_distinguishable_in_the_headline():
    same = {name: [law[0]] * 4 for name, law in LAWS.items()}
    facts = gather(lock(), runs(laws=same), {})
    assert all("unique is not distinguishable from raw" in s for s in facts["statements"])
    assert layout.render(facts).count('class="clear"') <= 1  # ten intervals of 95 % may miss once


def test_one_seed_distinguishes_nothing_and_the_page_says_so():
    facts = gather(lock(), runs(seeds=1), {})
    assert "not distinguishable" in facts["headline"]
    assert "one seed only" in words(layout.render(facts))


def test_one_size_gives_a_difference_instead_of_a_rate():
    facts = gather(lock(), [r for r in runs() if r["size"] == 400_000], {})
    assert "nats per token against raw at 400,000 tokens" in facts["headline"]
    assert "needs two sizes" in words(layout.render(facts))


def test_one_level_has_curves_and_no_section_of_exchange_rates():
    facts = gather(lock(), [r for r in runs() if r["level"] == "raw"], {})
    page = layout.render(facts)
    assert 'id="loss"' in page
    assert "#rates" not in page
    assert "What a token is worth" not in page


def test_a_failed_run_is_named_and_never_filled_in():
    there = runs()
    gone = there.pop()
    failed = {
        "level": gone["level"],
        "size": gone["size"],
        "seed": gone["seed"],
        "failed": "loss is not finite",
    }
    facts = gather(lock(), [*there, failed], {})
    page = words(layout.render(facts))
    assert "1 run is missing." in page
    assert "unique, 3.2M tokens, seed 3: loss is not finite" in page
    assert len(facts["holdouts"]["raw"]["levels"]["unique"]["points"][-1]["seeds"]) == 2


def test_identical_rows_of_a_level_are_one():
    there = [r for r in runs() if r["level"] != "unique"]
    failed = [{"level": "unique", "size": size, "seed": seed, "failed": "out of memory"}
              for size in SIZES.values() for seed in (1, 2, 3)]  # fmt: skip
    page = words(layout.render(gather(lock(), there + failed, {})))
    assert "12 runs are missing." in page
    assert page.count("out of memory") == 2  # at the top, and in the table of runs
    assert "unique, 400k, 800k, 1.6M, 3.2M tokens, seeds 1, 2, 3: out of memory" in page


def test_rules_that_drop_nothing_are_one_row_that_names_them():
    made = lock()
    rule = {"bound": [0, 1], "signal": "x", "dropped": 0, "dropped_bytes": 0, "alone": 0}
    made["levels"][1]["rules"] += [{**rule, "rule": f"english.idle_{n}"} for n in range(30)]
    made["levels"][2]["rules"].insert(0, {**rule, "rule": "filtered.single"})
    page = layout.render(gather(made, runs(), {}))
    assert page.count("rules that drop nothing") == 1
    assert "30 rules that drop nothing" in page
    assert all(f"english.idle_{n}" in page for n in range(30))
    assert "<details><summary>1 rule" not in page


def test_a_cell_without_any_record_is_named_too():
    there = [r for r in runs() if (r["level"], r["size"], r["seed"]) != ("english", 800_000, 2)]
    (missing,) = gather(lock(), there, {})["missing"]
    assert (missing["level"], missing["size"], missing["seed"]) == ("english", 800_000, 2)


def test_a_level_that_failed_wholly_leaves_the_others_comparable():
    there = [r for r in runs() if r["level"] != "unique"]
    failed = [{"level": "unique", "seed": seed, "failed": "out of memory"} for seed in (1, 2, 3)]
    facts = gather(lock(), there + failed, {})
    assert len(facts["missing"]) == 3
    assert "one token of filtered" in facts["headline"]


def test_a_page_without_runs_still_shows_the_funnel():
    facts = gather(lock(), [], examples())
    page = words(layout.render(facts))
    assert "No level can be compared" in page
    assert "gopher-repetition.top_2_gram_ratio" in page


def test_a_run_that_saw_other_tokens_than_its_size_is_a_warning():
    there = runs()
    there[0]["tokens_unique"] = 300_000
    assert any("trained on 300,000 tokens" in w for w in gather(lock(), there, {})["warnings"])


def test_a_corpus_that_is_mostly_one_document_is_a_warning(tmp_path):
    pack(tmp_path / "packed", np.array([0, 100_000, 400_000, 3_200_000]))
    found = [run | {"cell": {"packed": str(tmp_path / "packed")}} for run in runs() if run["size"] == 400_000]
    told = [one for one in gather(lock(), found, examples())["warnings"] if "one document is" in one]
    assert len(told) == len(LEVELS)
    assert any(one.startswith("raw, size 400,000: one document is 75% of the corpus") for one in told)


def test_hostile_documents_are_text_and_nothing_else(page):
    elements = Elements(page)
    assert not {"script", "img", "iframe", "object", "link"} & {tag for tag, _ in elements.found}
    assert not any(name.startswith("on") for _, attributes in elements.found for name in attributes)
    assert '<script>alert("pwned")</script>' in elements.text
    assert "{{ 7 * 7 }}" in elements.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)


def test_hostile_names_of_levels_are_escaped_in_text_and_figures():
    evil = '"><script>x</script>$a_b$'
    there, locked = runs(), lock()
    for run in there:
        run["level"] = evil if run["level"] == "unique" else run["level"]
    locked = json.loads(json.dumps(locked).replace('"unique"', json.dumps(evil)))
    for run in there:
        run["losses"] = {evil if n == "unique" else n: loss for n, loss in run["losses"].items()}
    elements = Elements(layout.render(gather(locked, there, {})))
    assert "script" not in {tag for tag, _ in elements.found}
    assert evil in elements.text


def test_elements_are_closed_and_ids_are_unique(page):
    elements = Elements(page)
    assert elements.open == []
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = re.findall(r'(?:href="|url\()#([^")]+)', page)
    assert inner
    assert set(inner) <= set(ids)


def test_the_page_asks_the_network_for_nothing(page):
    assert "http" not in page.replace("http-equiv", "")
    assert "@import" not in page
    for _, attributes in Elements(page).found:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")


def test_the_same_input_gives_the_same_bytes(tmp_path, facts):
    again = gather(lock(), runs(tmp_path / "runs"), examples())
    first, second = layout.write(tmp_path / "a", facts), layout.write(tmp_path / "b", again)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert {"report.html", "report.json"} < {str(n) for n in names}
    assert sum(n.suffix == ".svg" for n in names) == sum(n.suffix == ".png" for n in names) == 4
    assert first.name == second.name == "report.html"
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_the_order_of_runs_and_of_the_lock_does_not_change_the_page():
    there = runs()
    page = layout.render(gather(lock(), there, {}))
    assert page == layout.render(gather(lock(), there[::-1], {}))
    sorted_lock = json.loads(json.dumps(lock(), sort_keys=True))  # as it is read back from its file
    assert page == layout.render(gather(sorted_lock, there, {}))


def test_facts_are_strict_json_even_where_a_rate_has_no_end():
    laws = {"unique": [(2.0, 60.0), (2.0, 60.0), (2.0, 60.0), (1.0, 30.0)], "raw": LAWS["raw"]}
    facts = gather(lock(), runs(laws=laws), {})
    json.dumps(facts, allow_nan=False)
    assert "at least 8.00" in facts["headline"]
    assert "∞" in layout.render(facts)


def test_gathering_facts_changes_nothing_of_its_input():
    locked, there = lock(), runs()
    before = copy.deepcopy((locked, there))
    layout.render(gather(locked, there, examples()))
    assert (locked, there) == before


def test_the_funnel_ends_each_level_with_what_the_lock_says(facts):
    ends = {step["level"]: step["documents"] for step in facts["funnel"] if step["rule"] is None}
    assert ends == {one["name"]: one["documents"] for one in lock()["levels"]}


def test_the_rules_of_the_funnel_add_up(facts):
    last = {}
    for step in facts["funnel"]:
        if step["rule"] is None and step["level"] in last:
            assert last[step["level"]] == step["documents"]
        last[step["level"]] = step["documents"]


def test_each_step_is_compared_with_the_level_it_builds_on(facts):
    pairs = {(e["level"], e["of"]) for e in facts["holdouts"]["unique"]["steps"]}
    assert pairs == {("filtered", "english"), ("unique", "filtered")}


def test_the_page_says_what_intervals_leave_out_and_that_rankings_hang_on_the_rate(facts, page):
    trust = next(f for f in facts["findings"] if f["key"] == "trust")
    for part in ("cover training seeds", "every seed reads the same ones", "conditional"):
        assert part in " ".join(trust["sentences"])
    assert "every seed reads the same ones" in page


def at_rate(rate: float, tail: dict[str, float], **law) -> list[dict]:
    """A grid at one learning rate, with the loss in training that each level ends at."""
    tags = {"tags": {"optimizer.learning_rate": rate}}
    return [run | tags | {"train_loss": {"tail": tail[run["level"]]}} for run in runs(**law)]


def test_levels_are_compared_each_at_the_rate_that_trains_it_best():
    """Raw is best at the low rate, unique at the high one; the held-out losses would choose another."""
    low, high = ({name: [(E + more, B) for E, B in law] for name, law in LAWS.items()} for more in (0.0, 0.1))
    tails = [dict.fromkeys(LEVELS, x) for x in (4.0, 4.2, 4.4)]
    tails[1]["unique"] = 3.5
    grids = [
        at_rate(rate, tail, laws=law)
        for rate, tail, law in zip((0.005, 0.02, 0.06), tails, (low, high, high), strict=True)
    ]
    told = gather(lock(), [run for grid in grids for run in grid], {})
    holdout = told["holdouts"]["unique"]
    assert set(holdout["levels"]) == set(LEVELS)  # as if the rate were no axis
    (answer,) = (row for row in holdout["exchange"] if row["level"] == "unique")
    at_the_same = gather(lock(), grids[0], {})["holdouts"]["unique"]["exchange"][-1]
    assert (
        answer["rate"]["rate"] < at_the_same["rate"]["rate"]
    )  # unique gives up a tenth of a nat, raw nothing
    statement = next(s for s in told["statements"] if "held-out unique" in s)
    assert words_of.rate_text(answer["rate"]) in statement
    assert "each trained as is best for it (unique rate 0.02, raw rate 0.005 at " in statement
    (tuning,) = (f for f in told["findings"] if f["key"] == "tuning")
    largest = {row["series"]: row["best"] for row in tuning["figures"]["tried"]}
    knob = "optimizer.learning_rate"
    assert largest == {
        "raw": {knob: 0.005},
        "english": {knob: 0.005},
        "filtered": {knob: 0.005},
        "unique": {knob: 0.02},
    }
    assert any("least rate tried, 0.005, is best for raw at" in sentence for sentence in tuning["sentences"])
    assert "How each level is best trained" in words(layout.render(told))
    trust = " ".join(next(f for f in told["findings"] if f["key"] == "trust")["sentences"])
    assert "conditional" not in trust


def test_runs_that_know_no_loss_which_may_choose_stay_what_they_are(facts):
    assert not [f for f in facts["findings"] if f["key"] == "tuning"]
    blind = [run | {"tags": {"optimizer.learning_rate": rate}} for rate in (0.01, 0.02) for run in runs()]
    assert len(gather(lock(), blind, {})["holdouts"]["unique"]["levels"]) == 2 * len(LEVELS)
    captions = re.findall(r"<figcaption>.*?</figcaption>", layout.render(gather(lock(), blind, {})), re.S)
    for rate in (0.01, 0.02):  # each figure says of which setting it is
        assert sum(f"optimizer.learning_rate = {rate}:" in words(one) for one in captions) == 2
    twice = [run | {"tags": {"epochs": e}, "train_loss": {"tail": 1.0}} for e in (1, 2) for run in runs()]
    assert tuned(twice)[1] == []  # text that is read twice cannot choose how often to read it


def test_the_ranking_under_each_setting_is_told():
    swapped = {name: some[::-1] for name, some in LAWS.items()}
    for other, told in ((LAWS, "rank alike under every setting"), (swapped, "ranking turns with how")):
        some = at_rate(0.001, dict.fromkeys(LEVELS, 4.0), laws=LAWS, noise=0)
        some += at_rate(0.01, dict.fromkeys(LEVELS, 4.1), laws=other, noise=0)
        (tuning,) = (f for f in gather(lock(), some, {})["findings"] if f["key"] == "tuning")
        assert told in " ".join(tuning["sentences"])


def test_rates_are_told_by_token_and_by_byte(facts, page):
    """A token of the cleaner level has more bytes, so that byte for byte it is worth less."""
    short, long = 3.0, 3.4
    known = copy.deepcopy(lock())
    for corpus in known["corpora"]:
        corpus["bytes"] = round(corpus["tokens"] * (long if corpus["level"] == "unique" else short))
    told = gather(known, runs(), {})
    row = next(e for e in told["holdouts"]["unique"]["exchange"] if e["level"] == "unique")
    for end in ("rate", "low", "high"):
        assert row["per_byte"][end] == pytest.approx(row["rate"][end] * short / long)
    assert f"({words_of.rate_text(row['per_byte'])} byte for byte)" in next(
        s for s in told["statements"] if "held-out unique" in s
    )
    assert words_of.rate_text(row["per_byte"]) in words(layout.render(told)).replace("\u00a0", " ")


def says_what_its_intervals_say(holdout: dict) -> None:
    for row in [*holdout["exchange"], *holdout["steps"]]:
        for figure, none in ((row["rate"], 1), (row["difference"], 0)):
            if figure:
                low = -math.inf if figure["low"] is None else figure["low"]
                high = math.inf if figure["high"] is None else figure["high"]
                assert figure["distinguishable"] == (not low <= none <= high)


@pytest.mark.parametrize("seeds", [1, 2, 3])
@pytest.mark.parametrize("noise", [0.006, 0.05])
def test_a_verdict_never_contradicts_the_interval_beside_it(seeds, noise):
    for holdout in gather(lock(), runs(seeds=seeds, noise=noise), {})["holdouts"].values():
        says_what_its_intervals_say(holdout)


def test_other_axes_of_the_grid_are_compared_within_themselves():
    wide = [run | {"tags": {"model.width": 128}} for run in runs()]
    narrow = [run | {"tags": {"model.width": 64}} for run in runs()]
    facts = gather(lock(), wide + narrow, {})
    for e in facts["holdouts"]["unique"]["exchange"]:
        assert e["level"].split(", ")[1] == e["of"].split(", ")[1]
    assert sum(name.startswith("loss-") for name in layout.draw(facts)) == 4


def test_a_line_of_differences_is_taken_apart_and_loses_nothing_even_where_the_texts_hold_such_marks():
    assert runs_of("... a [-b c-] {+d+} e") == [
        ("", "... a "),
        ("stays", "b c"),
        ("", " "),
        ("goes", "d"),
        ("", " e"),
    ]
    assert runs_of("") == []
    for line in ("a list [-x with [-an old-] {+a new-]+} word {+ here", "[-a", "+} [-[--] -]"):
        marks = {"stays": "[-%s-]", "goes": "{+%s+}"}
        assert "".join(marks.get(side, "%s") % words for side, words in runs_of(line)) == line


def test_the_page_says_what_of_duplicates_to_look_at_beside_the_numbers(facts):
    told = facts | {
        "warnings": ['duplicates: source "web" loses 60% of its 10 documents, all others 1%'],
        "duplicates": {
            "by_source": {"web": {"documents": 10, "exact": 1, "template": 2, "near": 3}},
            "largest": [],
            "novelty": {"least": [0.05, 1.0], "by_source": {"web": {"bytes": 100, "saved": [10, 40], "lost": [0, 5]}}},
            "examples": [{"why": "the least similar of all", "goes": "g", "stays": "s", "similarity": 0.8,
                          "differences": "a [-<b>-] {+c+} d"}],
        },
    }  # fmt: skip
    section = layout.render(told).split('<h2 id="duplicates">')[1].split("</section>")[0]
    assert "Source &#34;web&#34; loses 60% of its 10 documents, all others 1%." in section
    assert "60 %" in section
    assert 'aria-label="What is lost with duplicates, by source"' in section
    assert "less of it is lost than 5, 100 %" in section
    assert "a <ins>&lt;b&gt;</ins> <del>c</del> d" in section


def test_differences_in_one_line_show_both_texts_and_a_little_around():
    left = " ".join(f"w{i}" for i in range(900))
    right = left.replace("w700 w701", "new").replace("w890", "last")
    assert in_one_line(left, right) == (
        "... w695 w696 w697 w698 w699 [-w700 w701-] {+new+} w702 w703 w704 w705 w706 ... w885 w886 w887 w888 w889 "
        "[-w890-] {+last+} w891 w892 w893 w894 w895 w896 w897 w898 w899"
    )
    assert in_one_line("a  b\n", "a b") == ""
    assert in_one_line("a b", "a b c") == "a b {+c+}"
    assert len(in_one_line(left, " ".join(f"v{i}" for i in range(5000)))) < 500


def test_marked_differences_join_to_the_texts_again():
    left, right = "one two\n three  four", "one 2\n three  four five"
    for text, side in zip((left, right), marked_difference(left, right), strict=True):
        assert "".join(part for _, part in side) == text
    assert [part for differs, part in marked_difference(left, right)[1] if differs] == ["2", " five"]


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        ([50, 100000], "50 to 100,000"),
        ([0.8, None], "at least 0.8"),
        ([None, 0.9], "at most 0.9"),
        (["en", "de"], "en, de"),
        ([False], "false"),
        ([None, None], "any"),
    ],
)
def test_bounds_read_as_words(bound, text):
    assert words_of.bound_text(bound) == text


def test_figures_take_every_colour_from_the_page(facts):
    for name, svg in layout.draw(facts).items():
        assert "var(--level-1)" in svg or name.startswith("rates-")
        assert not re.search(r"#[0-9a-f]{6}", svg), name
        assert "var(" not in charts.standalone(svg)


def test_points_and_rates_say_their_figures_where_a_pointer_rests(facts, page):
    points = facts["holdouts"]["unique"]["levels"]["raw"]["points"]
    assert f"<title>raw, 3.2M tokens: {points[-1]['mean']:.3f} [" in page
    assert re.search(r"<title>unique: \d\.\d\d \[\d\.\d\d, \d\.\d\d\]</title>", page)


def test_levels_differ_by_marker_and_dash_not_only_by_colour():
    assert len(set(charts.MARKERS)) == len(charts.MARKERS) == len(charts.LIGHT) == len(charts.DARK)
    assert len(set(map(str, charts.DASHES))) == len(charts.DASHES) == len(charts.MARKERS)


def test_documents_just_inside_lie_at_the_side_that_drops():
    from curate.report.examples import _outside
    from curate.spec.bounds import Bound

    share = np.array([0.05, 0.11, 0.13, 0.5, 1.0, np.nan])
    inside = _outside(share, np.array([0, 1]), Bound(low=0.12, high=1.0))
    assert np.argsort(-inside[2:5]).tolist() == [0, 1, 2]
    both = _outside(np.array([0.0, 0.3, 0.8, 2.0]), np.array([0, 3]), Bound(low=0.1, high=1.0))
    assert np.argmax(np.where(both <= 0, both, -np.inf)) in (1, 2)
