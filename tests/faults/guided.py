"""Coverage-guided inputs to everything that reads a file: what it has not read before, it is given more of.

`python -m faults.guided FOLDER` in a process of its own, since atheris watches what is imported after it. A reader yields
documents or counts what it could not read, and a manifest, a lock or a tokenizer is refused by an error for users.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import traceback
import zipfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from conftest import MANIFEST

FAULT = "fault: "
OPTIONS = {"text": [{}, {"document": "line"}, {"document": "paragraph", "newlines": "unix"}],
           "jsonl": [{}, {"text": "doc.body", "id": "id", "columns": ("n",)}]}  # fmt: skip


BOOK = (b'<container><rootfile full-path="a/b.opf"/></container>\0'
        b'<package><title>T</title><manifest><item id="i" href="c%20d.html" media-type="text/html"/></manifest>'
        b'<spine><itemref idref="i"/></spine></package>\0<html><body><p>A chapter.</p></body></html>')  # fmt: skip


def _book(raw: bytes) -> bytes:
    """An archive of three files: what is packed is what should be damaged, not the archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as book:
        for name, content in zip(
            ("META-INF/container.xml", "a/b.opf", "a/c d.html"), raw.split(b"\0"), strict=False
        ):
            book.writestr(name, content)
    return made.getvalue()


def _record(kind: str, block: bytes) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a.b/\r\nContent-Length: {len(block)}\r\n\r\n"
    return head.encode() + block + b"\r\n\r\n"


PAGE = b'<html lang="en"><head><meta charset="latin1"><title>T</title></head><body><p>Some text.</p></body></html>'
ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
          b"Content-Encoding: deflate\r\n\r\n5\r\n<html\r\n8\r\n><p>text</\r\n0\r\n\r\n")  # fmt: skip
MAIL = (b"From a@b Mon Jan 1 00:00:00 2024\nSubject: =?utf-8?q?a?=\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n"
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain; charset=utf-8\n"
        b"Content-Transfer-Encoding: base64\n\naGVsbG8=\n--x--\n")  # fmt: skip
WIKI = (b"<mediawiki><page><title>A</title><ns>0</ns><id>1</id><revision><timestamp>t</timestamp>"
        b"<text>'''A''' is [[b|c]]. {{d|e=f}} &lt;ref&gt;g&lt;/ref&gt; {| x |}</text></revision></page></mediawiki>")  # fmt: skip
STUDIED = '[[target]]\nname = "t"\nformat = "text"\npath = "t.txt"\n[attribution]\nlevel = "unique"\n'
TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "added_tokens": [
            {
                "id": 0,
                "content": "<|end|>",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "truncation": None,
        "padding": None,
        "model": {"type": "WordLevel", "unk_token": "a", "vocab": {"<|end|>": 0, "a": 1, "text": 2}},
    }
).encode()
LOCK = json.dumps({"manifest": {"text": "", "digest": ""}, "sources": {"s": {}}, "levels": [{"name": "raw"}], "profiles": {},
                   "corpora": [{"level": "raw", "size": "1k", "digest": "d"}]}).encode()  # fmt: skip
SEEDS: dict[str, list[bytes]] = {
    "jsonl": [b'{"text": "a", "id": 1, "n": [1, null]}\n{"doc": {"body": "b\\ud83d"}}\n', b'\xef\xbb\xbf[{"text": "a"},\n{"text": "b"}]'],
    "text": [b"one\r\n\r\ntwo\xef\xbb\xbf\n", "mark".encode("utf-16"), "\u043f\u0440".encode("utf-32-le") * 9],
    "markdown": [b"---\ntitle: a\n---\n# text\n"],
    "html": [PAGE, b"<!-- a --><select><option><div>x</div></select><script>a<b</script>"],
    "warc": [_record("response", ANSWER), _record("response", b"HTTP/1.0 200 OK\n\n" + PAGE) + _record("metadata", b"x")],
    "wet": [_record("conversion", b"text") * 2],
    "mail": [MAIL * 2, MAIL[MAIL.index(b"\n") + 1 :]],
    "epub": [_book(BOOK), BOOK],
    "mediawiki": [WIKI],
    "latex": [rb"\newcommand{\qa}[1][b]{a #1}\begin{document}\section{A}\qa[c] $x$ \cite{d}% e" b"\n"
              rb"\begin{figure}\caption{f}\end{figure}\verb|g|\end{document}"],
    "python": [b'"""A module."""\n\ndef f():\n    """A function."""\n'],
    "answer": [ANSWER],
    "tokenizer": [TOKENIZER],
    "manifest": [(MANIFEST + STUDIED).encode()],
    "lock": [LOCK],
}  # fmt: skip


def read(name: str, number: int, raw: bytes, folder: Path) -> None:
    """Raises what no user should see."""
    from curate.corpora.lock import read_lock
    from curate.errors import CurateError
    from curate.manifest.reader import load_manifest
    from curate.sources.formats import FORMATS
    from curate.sources.formats.responses import TooLong, parse
    from curate.sources.rows import Input, Problems
    from curate.sources.usable import usable, with_ids
    from curate.spec.manifest import Source
    from train.tokens.losses import round_trip

    path = folder / name
    path.write_bytes(_book(raw) if name == "epub" and number % 2 else raw)
    with suppress(CurateError, TooLong):
        if name == "answer":
            parse(raw, 1 << 20)
        elif name == "manifest":
            load_manifest(path)
        elif name == "lock":
            read_lock(path)
        elif name == "tokenizer":
            with suppress(ValueError):
                round_trip(str(path), ["Some text, of 12 words.\n\u00e9\ufffd\u4e2d"])
        else:
            choices = OPTIONS.get(name, [{}])
            source = Source("s", name, (str(folder),), **choices[number % len(choices)])
            places: set[str] = set()
            for table in FORMATS[name].read(source, [Input(str(path), "f", len(raw), "")], Problems()):
                documents = with_ids(usable(table, source, Problems()), source)
                documents.validate(full=True)
                found = documents["place"].to_pylist()
                places_before = len(places)
                places.update(found)
                assert len(places) == places_before + len(found), "a place for two documents"


def names() -> list[str]:
    from curate.sources.formats import FORMATS

    return [name for name in SEEDS if name not in FORMATS or not FORMATS[name].missing()]


def watch(folder: Path, options: list[str]) -> None:
    """Read inputs that atheris makes, and end the process. What goes wrong is said once for each place in the code."""
    import atheris

    with atheris.instrument_imports(include=["curate", "train.tokens"]):
        read("lock", 0, b"", folder)  # which imports what all of them need
        readers = names()
    known: set[str] = set()

    def one(raw: bytes) -> None:
        if len(raw) < 2:
            return
        name = readers[raw[0] % len(readers)]
        try:
            read(name, raw[1], raw[2:], folder)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{FAULT}{name}: {type(error).__name__} at {last.filename}:{last.lineno}"
            if kind not in known:
                known.add(kind)
                print(f"{kind}: {str(error)[:200]}: {raw[2:]!r:.600}", file=sys.stderr, flush=True)

    seeds = folder / "seeds"
    seeds.mkdir()
    for number, name in enumerate(readers):
        for way, raw in enumerate(SEEDS[name]):
            (seeds / f"{name}-{way}").write_bytes(bytes([number, way]) + raw)
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(seeds)], one)
    atheris.Fuzz()


def run(world: object, folder: Path, runs: int) -> int:
    """How many kinds of fault there were, each of which is printed."""
    if find_spec("atheris") is None:
        print("guided: skipped, atheris is not installed: pip install atheris", flush=True)
        return 0
    from faults.world import seed  # not above: it imports what atheris has to watch

    options = [f"-runs={runs}", f"-seed={seed() + 1}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4000"]
    command = [sys.executable, "-m", "faults.guided", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    faults = [line for line in done.stderr.splitlines() if line.startswith(FAULT)]
    print("\n".join([*faults, *([done.stderr[-3000:]] if done.returncode else [])]), flush=True)
    print(f"{len(faults)} kinds of fault in {runs} runs", flush=True)
    return len(faults) + bool(done.returncode)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), sys.argv[2:])
