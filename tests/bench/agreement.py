"""How often rules here and datatrove's decide alike, rule by rule, on the same documents.

    CURATE_DATA=FOLDER python tests/bench/agreement.py PYTHON [DOCUMENTS]

PYTHON is an interpreter of an environment with datatrove 0.10 (`pip install 'datatrove[processing]' spacy lxml_html_clean`), which is
no dependency of this project. Prints the table of `filters/AGREEMENT.md`, with the CPU seconds that both took.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PASSES = 5  # of ours, which take hundredths of a second each, so that chance shows; theirs takes half a minute once

# Runs in datatrove's environment: each rule by itself, all others off. Words are split once a text.
PEER = r"""
import functools, json, sys, time
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters import fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter

texts = pq.read_table(sys.argv[1])["text"].to_pylist()
whole = {"quality": GopherQualityFilter(), "repetition": GopherRepetitionFilter(), "c4": C4QualityFilter(),
         "fineweb": FineWebQualityFilter()}
def verdict(filter, text):
    try:
        answer = filter.filter(Document(text=text, id=""))
    except ZeroDivisionError:
        return False
    return answer if isinstance(answer, bool) else answer[0]
for filter in whole.values():
    verdict(filter, texts[0])  # loads what it needs
begin = time.process_time()
found = {name: [verdict(filter, text) for text in texts] for name, filter in whole.items()}
seconds = time.process_time() - begin
for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
    module.split_into_words = functools.lru_cache(4)(module.split_into_words)
off = dict.fromkeys("min_doc_words max_doc_words min_avg_word_length max_avg_word_length max_symbol_word_ratio "
                    "max_bullet_lines_ratio max_ellipsis_lines_ratio max_non_alpha_words_ratio min_stop_words".split())
rules = {
    "core_word_count": GopherQualityFilter(**off | {"min_doc_words": 50, "max_doc_words": 100000}),
    "mean_core_word_length": GopherQualityFilter(**off | {"min_avg_word_length": 3, "max_avg_word_length": 10}),
    "symbols": GopherQualityFilter(**off | {"max_symbol_word_ratio": 0.1}),
    "bullet_line_ratio": GopherQualityFilter(**off | {"max_bullet_lines_ratio": 0.9}),
    "ellipsis_line_ratio": GopherQualityFilter(**off | {"max_ellipsis_lines_ratio": 0.3}),
    "alphabetic_word_ratio": GopherQualityFilter(**off | {"max_non_alpha_words_ratio": 0.8}),
    "stop_word_count": GopherQualityFilter(**off | {"min_stop_words": 2}),
}
none = dict(dup_line_frac=None, dup_para_frac=None, dup_line_char_frac=None, dup_para_char_frac=None, top_n_grams=(), dup_n_grams=())
for key, name, bound in (("dup_para_frac", "repeated_paragraph_ratio", .3), ("dup_para_char_frac", "repeated_paragraph_character_ratio", .2),
                         ("dup_line_frac", "repeated_line_ratio", .3), ("dup_line_char_frac", "repeated_line_character_ratio", .2)):
    rules[name] = GopherRepetitionFilter(**none | {key: bound})
for n, bound in ((2, .2), (3, .18), (4, .16)):
    rules[f"top_{n}gram_character_ratio"] = GopherRepetitionFilter(**none | {"top_n_grams": ((n, bound),)})
for n, bound in ((5, .15), (6, .14), (7, .13), (8, .12), (9, .11), (10, .1)):
    rules[f"repeated_{n}gram_character_ratio"] = GopherRepetitionFilter(**none | {"dup_n_grams": ((n, bound),)})
never = dict(line_punct_thr=-1, short_line_thr=2, char_duplicates_ratio=2, new_line_ratio=1e9)
for key, name, bound in (("line_punct_thr", "terminal_line_ratio", .12), ("short_line_thr", "short_line_ratio", .67),
                         ("char_duplicates_ratio", "repeated_text_line_character_ratio", .01), ("new_line_ratio", "newline_word_ratio", .3)):
    rules[name] = FineWebQualityFilter(**never | {key: bound})
alone = {name: [] for name in rules}
for text in texts:
    for name, filter in rules.items():
        alone[name].append(verdict(filter, text))
print(json.dumps({"rules": alone, "filters": found, "seconds": seconds}))
"""
PROFILES = {
    "gopher-quality": "quality", "gopher-repetition": "repetition", "c4": "c4", "fineweb": "fineweb",
}  # fmt: skip
# What comes closest to datatrove's words: tokens of Unicode, punctuation among them, as FineWeb-2's signals count.
TOKENS = {
    "core_word_count": ("unicode_word_count", [50, 100_000]),
    "mean_core_word_length": ("mean_unicode_word_length", [3, 10]),
    "hash_word_ratio": ("hash_unicode_token_ratio", [0, 0.1]),
    "ellipsis_word_ratio": ("ellipsis_unicode_token_ratio", [0, 0.1]),
    "alphabetic_word_ratio": ("alphabetic_unicode_token_ratio", [0.8, 1]),
    "newline_word_ratio": ("newline_unicode_token_ratio", [0, 0.3]),
    **{f"top_{n}gram_character_ratio": (f"unicode_top_{n}gram_character_ratio", [0, b]) for n, b in ((2, 0.2), (3, 0.18), (4, 0.16))},
    **{
        f"repeated_{n}gram_character_ratio": (f"unicode_repeated_{n}gram_character_ratio", [0, b])
        for n, b in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))
    },
}  # fmt: skip


def main() -> None:
    folder = os.environ.get("CURATE_DATA")
    if not folder or len(sys.argv) < 2:
        sys.exit("name the data by CURATE_DATA, and an interpreter with datatrove as the argument")
    table = pq.read_table(Path(folder) / "web_mix_small.parquet", columns=["text"])
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 600
    texts = table["text"].combine_chunks().cast(pa.large_string())
    texts = texts.take(pa.array(np.arange(0, len(texts), max(1, len(texts) // wanted))))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "texts.parquet"
        pq.write_table(pa.table({"text": texts}), path)
        (Path(temporary) / "peer.py").write_text(PEER)
        done = subprocess.run(
            [sys.argv[1], str(Path(temporary) / "peer.py"), str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
    peer = json.loads(done.stdout.strip().splitlines()[-1])
    values, seconds = measured(texts)
    size = sum(len(text.encode()) for text in texts.to_pylist()) / 1e6
    print(f"{len(texts):,} documents, {size:.1f} MB. CPU seconds of the four filters: datatrove {peer['seconds']:.1f}, "
          f"here {seconds:.3f}, {peer['seconds'] / seconds:,.0f} times less\n")  # fmt: skip
    print(
        "| rule | datatrove drops | here | agree | over Unicode tokens, here | agree |\n|---|---|---|---|---|---|"
    )
    for profile, name in PROFILES.items():
        bounds = tomllib.loads((files("filters") / "profiles" / f"{profile}.toml").read_text())["keep"]
        keep = np.logical_and.reduce([inside(values[s], b) for s, b in bounds.items()])
        tokens = [of_tokens(values, signal) for signal in bounds]
        rules = zip(bounds.items(), tokens, strict=True)
        told = np.logical_and.reduce([inside(values[s], b) if t is None else t for (s, b), t in rules])
        counted = any(t is not None for t in tokens)
        print(row(f"**{profile}**", np.array(peer["filters"][name]), keep, told if counted else None))
        for signal, bound in bounds.items():
            theirs = "symbols" if signal in ("hash_word_ratio", "ellipsis_word_ratio") else signal
            if theirs not in peer["rules"] or signal == "ellipsis_word_ratio":
                continue
            ours = inside(values[signal], bound)
            ours_of_tokens = of_tokens(values, signal)
            if theirs == "symbols":
                ours &= inside(values["ellipsis_word_ratio"], bound)
                ours_of_tokens &= of_tokens(values, "ellipsis_word_ratio")
            name = "hash_word_ratio, ellipsis_word_ratio" if theirs == "symbols" else signal
            print(row(name, np.array(peer["rules"][theirs]), ours, ours_of_tokens))


def measured(texts: pa.Array) -> tuple[dict[str, np.ndarray], float]:
    """(values of every signal, CPU seconds of the families that the four filters need, each by the median of its passes)."""
    from filters import FAMILIES

    values: dict[str, np.ndarray] = {}
    seconds = 0.0
    for name in ("words", "lines", "repetition", "c4", "unicode_words", "unicode_repetition"):
        FAMILIES[name].measure(texts[:1])
        spent = []
        for _ in range(PASSES):
            begin = time.process_time()
            columns = FAMILIES[name].measure(texts)
            spent.append(time.process_time() - begin)
        seconds += 0 if name.startswith("unicode") else statistics.median(spent)
        values |= {s: c.to_numpy(zero_copy_only=False) for s, c in columns.items() if not s.endswith("spans")}
    return values, seconds


def of_tokens(values: dict[str, np.ndarray], signal: str) -> np.ndarray | None:
    """What passes the rule where it is of Unicode tokens; None where it is of no words."""
    token = TOKENS.get(signal)
    return inside(values[token[0]], token[1]) if token else None


def inside(values: np.ndarray, bound: list[float]) -> np.ndarray:
    return (values >= bound[0]) & (values <= bound[1])


def row(name: str, theirs: np.ndarray, ours: np.ndarray, tokens: np.ndarray | None) -> str:
    cells = [name, f"{(~theirs).sum():,}", f"{(~ours).sum():,}", f"{(theirs == ours).mean():.1%}"]
    cells += ["", ""] if tokens is None else [f"{(~tokens).sum():,}", f"{(theirs == tokens).mean():.1%}"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
