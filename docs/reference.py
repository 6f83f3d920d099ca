"""The reference pages, made from the code whenever the site is built: a hook of mkdocs.

`pages` gives every page of `reference/` as Markdown. What each key of a manifest or a lock means is said in
`manifest.toml` and `lock.toml` beside this file; which keys there are is asked of the code, and a key that is not
explained, or that no longer exists, stops the build. So these pages cannot drift.

Links that leave `docs/` (to figures, to `CHANGELOG.md`) work in the repository as they are written; `on_page_markdown`
turns them to the copies that the site has.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
COPIED = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
AGREEMENT = {"filters/AGREEMENT.md": "reference/agreement.md"}
GENERATED = {"filters/SIGNALS.md": "reference/signals.md"}


def pages() -> dict[str, str]:
    """Path below `docs/` -> Markdown."""
    return {
        "reference/manifest.md": manifest_page(),
        "reference/manifest.schema.json": json.dumps(manifest_schema(), indent=1, ensure_ascii=False) + "\n",
        "reference/knobs.md": knobs_page(),
        "reference/commands.md": commands_page(),
        "reference/python.md": python_page(),
        "reference/signals.md": signals_page(),
        "reference/profiles.md": profiles_page(),
        "reference/lock.md": lock_page(),
    }


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [list(header), *([str(cell).replace("|", "&#124;") for cell in row] for row in rows)]
    marked = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([marked[0], "|" + "---|" * len(lines[0]), *marked[1:]]) + "\n"


# ---- manifest ---------------------------------------------------------------------------------------------

EVERY_TABLE = """
[signals]
near_duplicates = { similarity = 0.8 }
exact_duplicates = { normalise = "bytes" }
repeated_spans = { words = 50 }
repeated_lines = { words = 5 }
repeated_paragraphs = { words = 5 }
semantic_duplicates = { vectors = "topic_vector" }
language = { model = "lid.176" }
line_languages = { model = "lid.176" }
quality = { positive = { source = "a" }, negative = { source = "b" } }
perplexity = { train = { source = "a" } }
target_likeness = { target = { source = "a" } }
topics = { train = { source = "a" } }
contamination = { ngram = 13 }
evaluation_overlap = { answer = "right" }
robots = { agents = ["CCBot"] }
url_lists = { domains = "list.txt" }
word_lists = { bad = "list.txt" }
[signals.custom.shouting]
function = "click:echo"
[signals.distilled.topic]
label = "url"
[[source]]
name = "a"
format = "jsonl"
path = "a.jsonl"
columns = ["url"]
[[source]]
name = "b"
format = "jsonl"
path = "b.jsonl"
[[evaluation]]
name = "exam"
format = "jsonl"
path = "exam.jsonl"
columns = ["right"]
[[robots]]
name = "answers"
format = "jsonl"
path = "robots.jsonl"
[[target]]
name = "quiz"
format = "jsonl"
path = "quiz.jsonl"
prompt = "question"
answer = "right"
choices = "options"
[[level]]
name = "raw"
[[level]]
name = "clean"
on = "raw"
profiles = ["c4"]
[tokenizer]
vocabulary = 4096
[sizes]
tokens = ["1M", "2M"]
[holdout]
tokens = "0.2M"
[parts]
bytes = "64 MB"
[forget]
file = "list.txt"
[grid]
seeds = 2
[attribution]
[mixture]
[repetition]
[overtaking]
[value]
epochs = [1, 2]
[anneal]
[base]
[[factor]]
name = "loss"
loss = ["masked"]
[power]
seed_noise = 0.02
"""
NAMED = re.compile(
    r'^(source|evaluation|robots|target|level|factor) "[^"]*"(.*)$'
)  # how the reader calls an entry of a list


def keys_of_the_reader() -> dict[str, tuple[str, ...]]:
    """Table -> the keys that the reader of manifests takes there: every check of keys is listened to."""
    from curate.manifest.reader import load_manifest
    from curate.spec.tables import Tables

    heard: dict[str, dict[str, None]] = {}
    check = Tables.known

    def known(self: Any, where: str, given: Mapping, allowed: Iterable[str]) -> None:
        allowed = sorted(allowed) if isinstance(allowed, set) else list(allowed)
        heard.setdefault(_table_name(where), {}).update(dict.fromkeys(allowed))
        check(self, where, given, allowed)

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.toml").write_text(EVERY_TABLE, encoding="utf-8")
        (Path(folder) / "list.txt").write_text("word\n", encoding="utf-8")
        Tables.known = known  # type: ignore[method-assign]
        try:
            load_manifest(Path(folder) / "manifest.toml")
        finally:
            Tables.known = check  # type: ignore[method-assign]
    return {name: tuple(keys) for name, keys in heard.items()}


def _table_name(where: str) -> str:
    """`level "clean"` is an entry of [[level]]; `[signals.custom.shouting]` stands for any name."""
    where = NAMED.sub(r"[[\1]]\2", where)
    return re.sub(r"^\[signals\.(custom|distilled)\..*\]$", r"[signals.\1.NAME]", where) or "top"


def described(name: str) -> dict[str, Any]:
    return tomllib.loads((DOCS / name).read_text(encoding="utf-8"))


def knob_tables() -> tuple[str, ...]:
    """Keys that every table of runs takes because they are knobs: a page of their own says them."""
    from train.config import reference

    return tuple(dict.fromkeys(row.name.partition(".")[0] for row in reference()))


def manifest_page() -> str:
    told, taken, knobs = described("manifest.toml"), keys_of_the_reader(), set(knob_tables())
    families = {row["family"] for row in json.loads(printed("signals", "--json"))}
    parts = [
        "# Manifest\n\nWhat was asked: a TOML file. Every key is checked before anything is done; a wrong one is one "
        'sentence that says where, what and the fix. Sizes are numbers or text such as `"0.5M"` and `"64 MB"`. For '
        "editors that complete TOML there is a [JSON schema](manifest.schema.json).\n",
        _formats_table(),
    ]
    for name, said in told.items():
        heading = "Top of the file" if name == "top" else f"`{name}`"
        parts.append(f"## {heading}\n\n{said['about']}\n")
        helps = dict(said.get("keys") or told[said["same_as"]]["keys"]) if len(said) > 1 else {}
        helps |= said.get("also", {})
        keys = taken.pop(name, ())
        if name == "[signals]":
            helps |= {key: _family(key) for key in keys if key in families and key not in helps}
        unsaid = [key for key in keys if key not in helps and not ("optimizer" in keys and key in knobs)]
        unknown = [key for key in helps if key not in keys]
        if unsaid or unknown:
            raise KeyError(
                f"docs/manifest.toml, {name}: explain {unsaid}; the reader of manifests knows no {unknown}"
            )
        if own := said.get("keys") or said.get("also"):
            rows = [[f"`{key}`", _default(helps[key]), helps[key]["help"]] for key in own]
            parts.append(table(["key", "default", "what it is"], rows))
        if "optimizer" in keys:
            parts.append("It also takes the [knobs](knobs.md) of a run.\n")
    if taken:
        raise KeyError(f"docs/manifest.toml explains no table {', '.join(taken)}")
    return "\n".join(parts)


LISTS = ("source", "evaluation", "robots", "target", "level", "factor")  # of tables


def manifest_schema() -> dict[str, Any]:
    """JSON schema of a manifest, for editors that complete and check TOML. Values are described, and typed where a
    default or a knob says what they are; the reader checks the rest."""
    from train.config import json_schema

    told, taken = described("manifest.toml"), keys_of_the_reader()
    knobs = json_schema()["properties"]
    tables: dict[str, dict[str, Any]] = {}
    for name, said in told.items():
        helps = said.get("keys") or (told[said["same_as"]]["keys"] if "same_as" in said else {})
        helps = {**helps, **said.get("also", {})}
        own = {key: _value_schema(helps[key]) if key in helps else {} for key in taken.get(name, ())}
        if name == "[grid]":
            own = {"levels": {}, "documents": {}, "pieces": {}, "until": {}}
        if name == "[grid]" or "optimizer" in own:
            own = {**own, **knobs}
        tables[name] = {"type": "object", "description": said["about"].replace("\n", " "), "additionalProperties": False,
                        "properties": own}  # fmt: skip
    top = tables.pop("top")
    for key in top["properties"]:
        listed = key in LISTS
        inner = tables.get(f"[[{key}]]" if listed else f"[{key}]")
        if inner is not None:
            top["properties"][key] = {"type": "array", "items": inner} if listed else inner
    top["properties"]["holdout"] = {"anyOf": [{"const": "none"}, top["properties"]["holdout"]]}
    top["properties"]["signals"]["additionalProperties"] = (
        True  # lists of words and custom signals have names of their own
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "curate manifest", **top}


def _value_schema(said: Mapping[str, Any]) -> dict[str, Any]:
    default = said.get("default")
    kinds = {
        bool: ["boolean", "object"],
        str: ["string", "integer"],
        list: ["array", "string"],
        dict: ["object", "array"],
    }
    more = (
        {"default": default, "type": kinds.get(type(default), ["number", "array"])}
        if "default" in said
        else {}
    )
    return {"description": said["help"], **more}


def _family(name: str) -> dict[str, Any]:
    return {"default": False, "help": f"`true` measures the [family `{name}`](signals.md)."}


def printed(*arguments: str) -> str:
    """What `curate` prints, given these arguments."""
    from click.testing import CliRunner

    from curate.cli import main

    return CliRunner().invoke(main, list(arguments), catch_exceptions=False).stdout


def _default(key: Mapping[str, Any]) -> str:
    return f"`{as_toml(key['default'])}`" if "default" in key else ""


def _formats_table() -> str:
    from curate.sources.formats import FORMATS
    from curate.sources.formats.format import extra_of

    rows = []
    for name, format in FORMATS.items():
        usual, others = format.fields or ((), ())
        carried = ", ".join(f"`{field}`" for field in (*usual, *others))
        extras = dict.fromkeys(f"the extra `{extra_of(library)}`" for library in format.requires)
        needs = ", ".join(extras)
        files = ", ".join(f"`{pattern}`" for pattern in format.include if pattern.count(".") < 2)
        rows.append(
            [f"`{name}`", files, carried or ("the file's own" if format.fields is None else ""), needs]
        )
    header = ["format", "files taken from a folder", "fields to carry along", "needs"]
    return f"## Formats\n\nOf a `[[source]]`. Compressed files are read too.\n\n{table(header, rows)}"


def as_toml(value: Any) -> str:
    """A value as a manifest writes it, on one line."""
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {as_toml(one)}" for key, one in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


# ---- knobs, commands, Python ------------------------------------------------------------------------------


def knobs_page() -> str:
    from train.config import reference

    rows = [[f"`{row.name}`", row.default, row.allowed, row.help] for row in reference()]
    return (
        "# Knobs\n\nWhat `[grid]`, `[base]`, `[[factor]]` and the tables of studies may say of a run. A list of values "
        'makes the knob an axis of the grid: `model.mixer = ["attention", "lstm"]`. `depth` is the one dial: it '
        "sets what is not given.\n\n" + table(["knob", "default", "may be", "what it is"], rows)
    )


def commands_page() -> str:
    import click

    from curate.cli import main

    parts = [
        "# Commands\n\nExit codes: 0 done, 1 failed, 2 bad usage or a bad manifest. A killed command continues where it "
        "stopped. `--json` prints the answer for a program.\n"
    ]
    for name, command in main.commands.items():
        context = click.Context(command, info_name=f"curate {name}")
        text, _, example = inspect.cleandoc(command.help or "").partition("Example:")
        usage = " ".join([f"curate {name}", *command.collect_usage_pieces(context)])
        rows = [
            [f"`{', '.join(option.opts)}`", help_of(option, context)]
            for option in command.params
            if isinstance(option, click.Option)
        ]
        ran = " ".join(example.split())
        parts.append(
            f"## {name}\n\n{text.strip()}\n\n```console\n$ {usage}\n```\n\nExample: `{ran}`\n\n"
            f"{table(['option', 'what it does'], rows)}"
        )
    return "\n".join(parts)


def help_of(option: Any, context: Any) -> str:
    """As `--help` says it, with the default."""
    record = option.get_help_record(context)
    return record[1] if record else ""


def python_page() -> str:
    """What `import curate` offers, and the doors of the two other packages."""
    import curate
    import filters
    import train

    offered = [(module, module.__all__) for module in (curate, filters, train) if hasattr(module, "__all__")]
    parts = [
        "# Python\n\nThe commands of the same names do the same. Wherever a manifest is taken it is a path, or what "
        "`load_manifest` gave. `**options` are `store`, `workers`, `memory` and `engine`, as on the command line.\n"
    ]
    for module, names in offered:
        for name in names:
            found = getattr(module, name)
            if inspect.isfunction(found):
                called = f"{module.__name__}.{name}"
                shown = re.sub(r"(: |-> )'([^']*)'", r"\1\2", f"{called}{inspect.signature(found)}")
                parts.append(f"## {called}\n\n```python\n{shown}\n```\n\n{inspect.getdoc(found)}\n")
    return "\n".join(parts)


# ---- signals, profiles, lock ------------------------------------------------------------------------------


def signals_page() -> str:
    return printed("signals", "--markdown")


def profiles_page() -> str:
    parts = [
        "# Profiles\n\nPublished filters as data: bounds over [signals](signals.md), each beside the sentence of its paper. "
        'A level names them: `profiles = ["gopher-quality"]`. To change one, copy its file beside your manifest.\n'
    ]
    folder = package_files("filters") / "profiles"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            text = file.read_text(encoding="utf-8")
            tree = tomllib.loads(text)
            rules = text.partition("\n[")
            shown = f"```toml\n{rules[1].lstrip()}{rules[2].rstrip()}\n```"
            edits = "".join(f"It cuts `{name}`. " for name in tree.get("cut", []))
            if len(shown) > 4000:  # bounds of many languages
                shown = f'??? note "Its bounds"\n\n    {shown.replace(chr(10), chr(10) + "    ")}'
            parts.append(f"## {tree['name']}\n\n{tree['source']} {edits}\n\n{shown}\n")
    return "\n".join(parts)


def lock_keys(lock: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Path of every key of a lock -> a value there. The entries of a list share their keys."""
    found: dict[tuple[str, ...], Any] = {}
    for entry in lock if isinstance(lock, list) else [lock]:
        for key, value in entry.items() if isinstance(entry, dict) else ():
            found.setdefault((*path, key), value)
            for inner, one in lock_keys(value, (*path, key)).items():
                found.setdefault(inner, one)
    return found


def shipped_lock_keys() -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for file in sorted((ROOT / "manifests").glob("*.lock.json")):
        for path, value in lock_keys(json.loads(file.read_text(encoding="utf-8"))).items():
            found.setdefault(path, value)
    return found


def lock_page() -> str:
    told, there = described("lock.toml"), shipped_lock_keys()
    if unsaid := unexplained(there, told["keys"]):
        raise KeyError(f"docs/lock.toml explains no {', '.join(unsaid)}")
    rows = [[f"`{name}`", help, _example(name, there)] for name, help in told["keys"].items()]
    return f"# Lock\n\n{told['about']}\n\n{table(['key', 'what it says', 'for example'], rows)}"


def unexplained(there: Iterable[tuple[str, ...]], helps: Iterable[str]) -> list[str]:
    """Keys that no entry names, nor stands for with all that is below it. `*` in an entry is any name."""
    entries = [tuple(name.split(".")) for name in helps]

    def explained(path: tuple[str, ...]) -> bool:
        if any(_matches(entry[: len(path)], path) for entry in entries):
            return True  # itself, or what holds keys that are
        above = [entry for entry in entries if _matches(entry, path[: len(entry)])]
        return any(not any(other[: len(entry)] == entry != other for other in entries) for entry in above)

    return [".".join(path) for path in there if not explained(path)]


def _matches(entry: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(entry) == len(path) and all(a in ("*", b) for a, b in zip(entry, path, strict=True))


def _example(name: str, there: Mapping[tuple[str, ...], Any]) -> str:
    value = next((value for path, value in there.items() if _matches(tuple(name.split(".")), path)), None)
    if value is None or isinstance(value, dict | list):
        return ""
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text if len(text) < 40 else text[:24] + '…' + text[-1]}`"


# ---- the hook ---------------------------------------------------------------------------------------------


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for name, text in {**pages(), **notebook_page()}.items():
        files.append(File.generated(config, name, content=text))
    for source, name in {**COPIED, **AGREEMENT}.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    for figure in sorted((ROOT / "manifests").glob("*.svg")):
        files.append(File.generated(config, f"figures/{figure.name}", abs_src_path=str(figure)))
    return files


LINK = re.compile(r"(\]\()((?:\.\./)*)((?:manifests|filters|docs)/[\w./-]+|[A-Z]+\.md)((?:#[\w-]+)?\))")


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    return LINK.sub(lambda found: found[1] + _in_site(found, page.file.src_uri) + found[4], markdown)


def _in_site(found: re.Match, page: str) -> str:
    """The place in the site of what a link names in the repository, as the page has to write it."""
    target = found[3]
    place = {**COPIED, **AGREEMENT, **GENERATED}.get(target)
    if target.startswith("docs/"):  # in a page that lies above docs/ in the repository
        place = target.removeprefix("docs/")
    if target.endswith(".svg"):
        place = f"figures/{Path(target).name}"
    if place is None:
        return found[2] + target
    return os.path.relpath(place, os.path.dirname(page) or ".")


def notebook_page() -> dict[str, str]:
    """`notebook.ipynb` as a page: its text, its code, and what each cell printed."""
    cells = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        printed = "".join(text for output in cell["outputs"] for text in output.get("text", []))
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return {"notebook.md": "\n\n".join(parts) + "\n"}


if __name__ == "__main__":  # what an extra needs, for pip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(*project["optional-dependencies"][sys.argv[1]])
