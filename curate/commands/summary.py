"""Answers as text for a terminal: short, aligned, the most important last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.commands.diff import Difference
from curate.commands.explain import Explanation
from curate.commands.plan import BUSY, Plan
from curate.commands.show import Shown
from curate.corpora.built import Built
from curate.quantities import short_bytes, short_count, short_time
from curate.results.words import figure_text, text_of

FEW_A_PARAMETER = 5.0  # tokens, below which a model has hardly begun to learn


def table(rows: list[list[Any]], header: list[str]) -> str:
    """Columns aligned: numbers to the right, words to the left."""
    cells = [[str(c) for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = [all(_is_figure(row[i]) for row in cells[1:]) for i in range(len(header))]
    lines = [
        "  ".join(
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def _is_figure(text: str) -> bool:
    return (
        bool(text)
        and (text[0].isdigit() or text in ("-", "", "missing"))
        or text[:1] == "-"
        and text[1:2].isdigit()
    )


def plan_text(plan: Plan) -> str:
    sources = table(
        [
            [s.name, s.format, f"{s.files:,}", short_bytes(s.bytes), short_bytes(s.read_already)]
            for s in plan.sources
        ],
        ["source", "format", "files", "size", "read already"],
    )
    tried = plan.lint.kept
    levels = table(
        [
            [v["name"], v["on"] or "", len(v["rules"]), *([f"{tried[v['name']]:,}"] if tried else [])]
            for v in plan.levels
        ],
        ["level", "on", "rules", *([f"keeps of {plan.lint.documents:,} tried"] if tried else [])],
    )
    found = "".join(f"warning: {line}\n" for line in plan.lint.found)
    found += "".join(
        f"runs code: {c['function']} of {c['file']} (sha256 {c['sha256'][:12]}) for the signal {c['signal']}\n"
        for c in plan.code
    )
    return (
        f"{plan.name}: the manifest is sound\n\n{sources}\n\n{levels}\n\n{found}"
        f"{_training_text(plan)}\n\n"
        f"{plan.corpora} corpora, {sum(part.cells for part in plan.training)} cells giving at most "
        f"{sum(part.runs for part in plan.training)} runs, {short_count(plan.training_tokens)} tokens to train\n"
        f"at most {short_bytes(plan.disk_bytes)} of disk and, on this machine by itself, some "
        f"{short_time(plan.minutes * 60)}{_load_text(plan)}\n"
        f"told apart: what differs by as much is found 4 times of 5, where seeds differ by {plan.seed_noise:g} nats"
    )


def _load_text(plan: Plan) -> str:
    return (
        f"; others keep {plan.load:.0%} of its cores busy now, so it will take longer"
        if plan.load > BUSY
        else ""
    )


def _training_text(plan: Plan) -> str:
    """The grid and every study: what each costs, and the smallest difference that each can hope to distinguish."""
    if not plan.training:
        return "nothing is trained: [sizes] names no budget"
    rows = [
        [part.name, part.cells, part.runs, short_count(part.tokens), short_time(part.seconds),
         "nothing: one seed, or one corpus" if part.smallest_difference is None
         else f"{part.smallest_difference:.3f} nats per token", f"{part.tokens_a_parameter:.1f}"]
        for part in plan.training
    ]  # fmt: skip
    text = table(
        rows, ["trained", "cells", "runs", "tokens", "of a core", "told apart", "tokens a parameter"]
    )
    least = min(part.tokens_a_parameter for part in plan.training)
    if least < FEW_A_PARAMETER:
        text += (
            f"\nwarning: {least:.1f} tokens a parameter: compute-optimal are about 20 (Hoffmann et al. 2022), and "
            f"below {FEW_A_PARAMETER:g} little is learned; smaller models, more tokens or more passes mend it"
        )
    return text


def build_text(built: Built) -> str:
    lock = built.lock
    levels = table(
        [[level["name"], f"{level['documents']:,}", short_bytes(level["bytes"])] for level in lock["levels"]],
        ["level", "documents", "text"],
    )
    corpora = table(
        [
            [c.level, c.label, f"{c.documents:,}", f"{c.tokens:,}", c.digest[:12], c.path.name]
            for c in built.corpora
        ],
        ["level", "size", "documents", "tokens", "digest", "directory"],
    )
    return f"{levels}\n\n{corpora}\n\n{built.annotated.store.folder('corpora')}\nlock: {built.lock_path}"


def train_text(runs: list[dict]) -> str:
    done = [r for r in runs if "losses" in r]
    names = sorted({name for r in done for name in r["losses"]})
    rows = [
        [
            r["level"],
            short_count(r["size"]),
            r["seed"],
            *(f"{r['losses'][n]['nats_per_token']:.4f}" for n in names),
        ]
        for r in sorted(done, key=lambda r: (r["level"], r["size"], r["seed"]))
    ]
    text = table(rows, ["level", "size", "seed", *(f"{n} nats/token" for n in names)])
    missing = [
        f"missing: {r['level']} {short_count(r['size'])} seed {r['seed']}: {r['failed']}"
        for r in runs
        if "failed" in r
    ]
    return "\n".join([text, *missing])


def corpus_run_text(directory: Path, record: dict) -> str:
    loss = record["losses"]["holdout"]
    return (
        f"{record['tokens_trained']:,} tokens, {record['parameters']:,} parameters: "
        f"{loss['nats_per_token']:.4f} nats per token, {loss['bits_per_byte']:.4f} bits per byte held out\n{directory}"
    )


def report_text(page: Path, facts: dict) -> str:
    return f"{facts['headline']}\n{page}"


def run_text(outcome: Any) -> str:
    missing = sum("failed" in r for r in outcome.runs)
    done = f"trained {outcome.trained} cells" if outcome.trained else "nothing to train: every run is there"
    if missing:
        done += f"; {missing} runs are missing, the report names them"
    lock = outcome.built.lock_path
    return f"{outcome.headline}\n\n{done} ({short_time(outcome.seconds)})\nlock:   {lock}\nreport: {outcome.page}"


def explain_text(e: Explanation) -> str:
    document = e.document
    excerpt = document["text"][:400].strip()
    parts = [f"{_head(document['id'], document['source'], document['place'])}\n\n{excerpt}\n"]
    parts.append(
        table([[k, _signal(v, document["text"])] for k, v in e.signals.items()], ["signal", "value"])
    )
    if e.duplicates:
        rows = [[k, _number(v)] for k, v in e.duplicates.items() if k != "differences"]
        parts.append(table(rows, ["duplicates", ""]))
    if "differences" in e.duplicates:
        legend = "[-the document that stays-] {+this one+}"
        parts.append(f"{legend}:\n{e.duplicates['differences'] or 'only white space differs'}")
    for level in e.levels:
        verdict = "kept" if level["kept"] else f"dropped by {level['dropped_by']}"
        rows = [["ok" if r["passes"] else "FAILS" if r["passes"] is False else "not reached", r["rule"],
                 _number(r["value"]), r["bound"]] for r in level["rules"]]  # fmt: skip
        body = "\n" + table(rows, ["", "rule", "value", "bound"]) if rows else ""
        parts.append(f"level {level['name']}: {verdict}{body}")
    return "\n\n".join(parts)


def _signal(value: Any, text: str) -> str:
    """Of spans their number, and what the first of them say."""
    if not isinstance(value, list) or not all(isinstance(span, dict) for span in value):
        return _number(value)
    raw = text.encode()
    said = [_one_line(raw[s["start"] : s["end"]].decode(errors="replace"), 30) for s in value[:3]]
    more = ", ..." if len(value) > len(said) else ""
    return f"{len(value)}: {', '.join(map(repr, said))}{more}" if value else "0"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "missing" if value is None else str(value)


def diff_text(difference: Difference) -> str:
    parts = [f"note: {note}" for note in difference.notes]
    for level in difference.levels:
        head = f"level {level['level']}: " if level["level"] else ""
        parts.append(f"{head}{level['both']:,} documents in both")
        for mine, other, key in (
            (difference.a, difference.b, "only_a"),
            (difference.b, difference.a, "only_b"),
        ):
            only = level[key]
            heading = f"only in {mine}: {only['documents']:,} documents, {short_bytes(only['bytes'])}"
            rows = [[g["rule"], f"{g['documents']:,}", g.get("bound", "")] for g in only["dropped_by"]]
            body = "\n" + table(rows, [f"dropped in {other} by", "documents", "bound"]) if rows else ""
            parts.append(heading + body + "".join(map(_rule_examples, only["dropped_by"])))
    if difference.answers:
        rows = [
            [text_of(row["holdout"]), f"{row['what']} of {row['level']} to {row['of']}", figure_text(*row["a"]),
             figure_text(*row["b"]), "agree" if row["agree"] else "DIFFER"]
            for row in difference.answers
        ]  # fmt: skip
        parts.append(table(rows, ["on", "answer", difference.a, difference.b, ""]))
    return "\n\n".join(parts)


def _rule_examples(group: dict) -> str:
    lines = [
        f"  {d['id'][:12]}  {'' if 'value' not in d else _number(d['value']) + '  '}{_one_line(d['text'], 90)}"
        for d in group["examples"]
    ]
    return "\n" + "\n".join([f"{group['rule']}:", *lines])


def _one_line(text: str, characters: int) -> str:
    line = " ".join(text[: 2 * characters].split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def show_text(found: Shown) -> str:
    parts = [f"{found.what}: {found.documents:,} documents, of which {len(found.sample)}"]
    for document in found.sample:
        more = [f"{document['tokens']:,} tokens"] if "tokens" in document else []
        more += [f"{document['signal']} {_number(document['value'])}"] if "signal" in document else []
        head = _head(document["id"][:12], document["source"], document["place"], *more)
        parts.append(f"--- {head}\n{document['text'].strip()}")
    return "\n\n".join(parts)


def _head(*fields: str) -> str:
    """One line, whatever a file is called: a line of its own would pass for one of ours."""
    return "  ".join(fields).replace("\n", "\\n")


def signals_text(signals: list[dict]) -> str:
    columns = ("name", "family", "unit", "says")
    return table([[s[c] for c in columns] for s in signals], ["signal", "family", "unit", "definition"])


def signals_markdown(signals: list[dict]) -> str:
    """A page: a table for each family, signals in its order."""
    families = dict.fromkeys(s["family"] for s in signals)
    return SIGNALS_PAGE + "".join(_family_markdown(name, signals) for name in families)


SIGNALS_PAGE = """# Signals

Everything that a level may bound, cut or mask. Made by `curate signals --markdown`, from the code that measures it.
*Range* is what the signal can be, *empty* its value for a document without text; where that is null, no bound keeps
the document. Spans are cut or masked, their number is a signal beside them. Each definition has a plain-Python twin in
`tests/filters/naive*.py`, which the kernel must equal on random, hostile and real text.
"""


def _family_markdown(family: str, signals: list[dict]) -> str:
    rows = [s for s in signals if s["family"] == family]
    takes = ", ".join(rows[0]["takes"])
    head = f"\n## {family}, version {rows[0]['version']}\n\n" + (f"Takes {takes}.\n\n" if takes else "")
    lines = [
        f"| `{s['name']}` | {s['unit']} | {s['range']} | {s['empty']} | {s['says'].replace('|', '&#124;')} |\n"
        for s in rows
    ]
    return head + "| signal | unit | range | empty | definition |\n|---|---|---|---|---|\n" + "".join(lines)
