"""PDFium in a process of its own: what makes it grow or die costs one file. Run by `papers.py` as a program.

A file comes in as eight bytes of length and its bytes; what was found goes out as a line of JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from contextlib import closing

MEMORY = 1_000_000_000  # bytes; a page that unpacks to more ends the process
SECONDS = 300  # of a core, for a file: the slowest of 216 manuals takes 2
PAGES, CHARACTERS = 20_000, 64_000_000


def read(raw: bytes) -> dict:
    """{texts, broken (numbers of pages that cannot be read), about} or {cause, why}."""
    import pypdfium2

    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as error:
        cause = "encrypted" if "password" in str(error) or "security" in str(error) else "broken-file"
        return {"cause": cause, "why": str(error)}
    texts, broken, size = list[str](), list[int](), 0
    with closing(document):
        if len(document) > PAGES:
            return {"cause": "too-long", "why": f"over {PAGES:,} pages"}
        for number in range(len(document)):
            try:
                page = document[number]
            except pypdfium2.PdfiumError:
                broken.append(number + 1)
                continue
            with closing(page), closing(page.get_textpage()) as text:
                size += text.count_chars()
                if size > CHARACTERS:
                    return {"cause": "too-long", "why": f"over {CHARACTERS:,} characters"}
                texts.append(text.get_text_bounded())
        return {"texts": texts, "broken": broken, "about": document.get_metadata_dict()}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while head := sys.stdin.buffer.read(8):
        raw = sys.stdin.buffer.read(int.from_bytes(head))
        try:
            answer = read(raw)
        except MemoryError:
            answer = {"cause": "bomb", "why": f"it takes over {MEMORY:,} bytes of memory"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
