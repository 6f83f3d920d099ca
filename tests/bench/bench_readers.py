"""MB/s of one core that readers of pages and archives take in: main text of HTML, WARC and WET, front matter and lines.

Pages are the HTML files below CURATE_HTML (a folder), else those of installed packages and of /usr/share/doc.
"""

from __future__ import annotations

import gzip
import json
import os
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from curate.sources.formats import FORMATS
from curate.sources.inputs import list_inputs
from curate.sources.rows import Problems
from curate.spec.manifest import Source

TAKE = 20_000_000  # bytes of pages


def pages() -> list[bytes]:
    given = os.environ.get("CURATE_HTML")
    folders = [given] if given else [sysconfig.get_paths()["purelib"], "/usr/share/doc"]
    found: list[bytes] = []
    size = 0
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.htm*")):
        if path.is_file() and path.suffix in (".html", ".htm") and size < TAKE:
            found.append(path.read_bytes())
            size += len(found[-1])
    return found


def record(kind: str, url: str, block: bytes, type: str) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-02-20T21:00:00Z\r\nContent-Type: {type}\r\n"
    return f"{head}Content-Length: {len(block)}\r\n\r\n".encode() + block + b"\r\n\r\n"


def response(i: int, page: bytes) -> bytes:
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page
    return record("response", f"http://a/{i}", block, "application/http; msgtype=response")


def measured(format: str, folder: Path) -> tuple[float, int, int]:
    """(CPU seconds, bytes of text, documents)"""
    source, problems = Source("s", format, (str(folder),)), Problems()
    inputs = list_inputs(source)
    begin = time.process_time()
    size = documents = 0
    for table in FORMATS[source.format].read(source, inputs, problems):
        size += table["text"].nbytes
        documents += len(table)
    return time.process_time() - begin, size, documents


def archive(records: list[bytes], pack: Callable[[bytes], bytes]) -> bytes:
    return b"".join(map(pack, records))


def main() -> None:
    found = pages()
    if not found:
        print("no HTML files here; name a folder of them in CURATE_HTML")
        return
    raw = sum(map(len, found))
    print(
        f"{len(found):,} pages, {raw / 1e6:.1f} MB\n\n{'format':<14}{'MB in/s':>9}{'MB text/s':>11}{'documents':>11}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "html").mkdir()
        for i, page in enumerate(found):
            (folder / "html" / f"{i:06d}.html").write_bytes(page)
        source = Source("s", "html", (str(folder / "html"),))
        texts = [
            t
            for table in FORMATS[source.format].read(source, list_inputs(source), Problems())
            for t in table["text"].to_pylist()
        ]
        responses = [response(i, page) for i, page in enumerate(found)]
        conversions = [
            record("conversion", f"http://a/{i}", t.encode(), "text/plain") for i, t in enumerate(texts)
        ]
        written = {
            ("html", ""): b"",
            ("warc", ".warc"): archive(responses, bytes), ("warc", ".warc.gz"): archive(responses, gzip.compress),
            ("wet", ".wet"): archive(conversions, bytes), ("wet", ".wet.gz"): archive(conversions, gzip.compress),
            ("jsonl", ".jsonl"): b"".join(json.dumps({"text": t}).encode() + b"\n" for t in texts),
            ("markdown", ".md"): b"\n".join(t.encode() for t in texts),
        }  # fmt: skip
        for (format, ending), data in written.items():
            here = folder / (ending or "html")
            here.mkdir(exist_ok=True)
            if ending:
                (here / f"a{ending}").write_bytes(data)
            taken = raw if format in ("html", "warc") else sum(len(t.encode()) for t in texts)
            seconds, size, documents = measured(format, here)
            print(
                f"{format + (' gz' if ending.endswith('gz') else ''):<14}{taken / 1e6 / seconds:9.1f}{size / 1e6 / seconds:11.1f}{documents:11,}"
            )


if __name__ == "__main__":
    main()
