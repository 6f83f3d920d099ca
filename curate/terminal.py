"""The one door to a terminal. Documents, file names and what servers answer go through it, and may hold anything.

Control characters and marks that turn the direction of writing are shown as escapes: a document must not move the
cursor, rename the window or make a line read otherwise than it stands. Passwords in addresses are left out. What the
terminal's encoding has no letters for is escaped as well, and a stream that is closed or full ends nothing but itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from typing import Any

from curate.addresses import without_secrets
from curate.errors import CurateError

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # further line ends, byte-order marks, annotations
    "\U000e0000-\U000e007f"  # tags: text that no font shows
    "\ud800-\udfff]"  # halves of pairs, which no encoding writes
)


def visible(text: str) -> str:
    """The text with what cannot be seen as JSON's escapes, such as \\u001b: within a JSON string they mean the same."""
    return UNSEEN.sub(lambda unseen: json.dumps(unseen[0])[1:-1], text)


def as_json(answer: Any) -> str:
    """An answer as JSON, in ASCII alone where standard output has not every letter."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return visible(json.dumps(answer, indent=2, sort_keys=True, ensure_ascii=plain))


def print_answer(text: str) -> None:
    """To standard output. Raises CurateError where that is full, BrokenPipeError where nobody reads on."""
    try:
        print(visible(text), flush=True)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CurateError(
            f"standard output: {reason}; send it elsewhere, and the same command answers again"
        ) from None


def print_line(text: str) -> None:
    """To standard error; where nobody can read it, nothing happens."""
    with contextlib.suppress(OSError, ValueError):  # full, or closed
        print(visible(without_secrets(text)), file=sys.stderr, flush=True)


def open_streams() -> None:
    """Streams that take any text. Those that are closed lead nowhere, lest a file that is opened later gets their number,
    and what is said to them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the lowest number that is free is its own
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave(code: int) -> None:
    """End the process; what a full or closed standard output still holds is given up without a word."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)
