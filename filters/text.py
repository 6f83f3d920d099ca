"""What text is made of, for compiled loops: characters and their classes, words, lines.

Words are what `str.split()` gives and lines end where `str.splitlines()` ends them, as in the papers; a
character is a code point. Every kernel copies one document at a time to a *page*, a buffer with `PADDING`
zero bytes behind the text. So 64 bytes can be looked at with one comparison (an `in_ranges` mask, bit i for
byte i) without leaving the buffer, and fresh arrays, slices and memory maps are the same to it.

The price: these masks are written in LLVM's vector language, the one place here that is not plain Python,
and the bytes must be valid UTF-8: `valid` checks that (several GB/s) and repairs what is not.

Every function that another file inlines into its kernels lives here: the folder of compiled kernels is
named after this file's content (see `filters`).
"""

from __future__ import annotations

import functools
import sys
import threading
import unicodedata
import weakref
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar

import numba
import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import extending
from numba.core import types

from filters.arrow import text_column, utf8

# A kernel may allocate. A loop allocates nothing and calls nothing that does, so it is compiled without reference
# counting: counting the arrays that small functions pass on costs more, in atomic instructions, than they do.
kernel = numba.njit(cache=True, nogil=True, error_model="numpy")
_UNCOUNTED: Any = {"nogil": True, "error_model": "numpy", "_nrt": False}
loop = numba.njit(cache=True, **_UNCOUNTED)
inlined = numba.njit(forceinline=True, **_UNCOUNTED)

intrinsic: Any = extending.intrinsic  # numba's type for it wants the compiler's argument from callers too

PADDING = 128  # bytes behind a page's text: one 64-byte look at its last byte, and one more for a word's tail

# ---- Classes of characters ------------------------------------------------------------------------------

WHITESPACE, ALPHABETIC, PUNCTUATION, DIGIT, UPPERCASE, TERMINAL = 1, 2, 4, 8, 16, 32

# The marks that end a sentence, in every script, as FineWeb's filter lists them: Unicode's Sentence_Terminal
# (version 15) and three Khmer marks; no quotes, no ellipsis character.
TERMINAL_MARKS = """
21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736
17d4-17d6 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f
203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9
aa5d-aa5f aaf0-aaf1 abeb fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048
110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3
115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44
16a6e-16a6f 16af5 16b37-16b38 16b44 16e98 1bc9f 1da88
"""


def terminal_marks() -> list[int]:
    """Code points of `TERMINAL_MARKS`."""
    spans = [[int(code, 16) for code in span.split("-")] for span in TERMINAL_MARKS.split()]
    return [code for span in spans for code in range(span[0], span[-1] + 1)]


def is_punctuation(character: str) -> bool:
    """Punctuation, symbols and control characters: on ASCII `string.punctuation` and what is invisible."""
    category = unicodedata.category(character)
    return category[0] in "PS" or category == "Cc"


@lru_cache(maxsize=1)
def character_classes() -> np.ndarray:
    """uint8 [code points]: which classes each belongs to, by this Python's Unicode. Takes about 0.1 s."""
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    characters = codes.view("<U1")
    alphabetic, decimal = np.char.isalpha(characters), np.char.isdecimal(characters)
    classes = alphabetic * np.uint8(ALPHABETIC) | decimal * np.uint8(DIGIT)
    classes |= np.char.isspace(characters) * np.uint8(WHITESPACE)
    classes |= np.char.isupper(characters) * np.uint8(UPPERCASE)
    planes_in_use = (codes < 0x40000) | (codes >> 16 == 14)  # the rest is unassigned or private
    for code in np.flatnonzero(planes_in_use & ~alphabetic & ~decimal).tolist():
        if is_punctuation(chr(code)):
            classes[code] |= PUNCTUATION
    classes[terminal_marks()] |= TERMINAL
    classes.flags.writeable = False
    return classes


# ---- The column -----------------------------------------------------------------------------------------


_latest = threading.local()  # .batch: the column this thread looked at last, and what was found in it


Found = TypeVar("Found")


def shared(find: Callable[..., Found]) -> Callable[..., Found]:
    """`find(texts, ...)`, looked for once in a batch: one array asked about again and again, by one family after another.

    What was found is kept as long as its array lives and this thread asks about no other. So families name what they
    need by calling it, and what no family calls is never looked for.
    """

    def once(texts: pa.Array | pa.ChunkedArray, *beside: Hashable) -> Found:
        if not isinstance(texts, pa.Array):
            return find(text_column(texts), *beside)
        batch = getattr(_latest, "batch", None)
        if batch is None or batch[0]() is not texts:
            found: dict[Any, Any] = {}
            batch = _latest.batch = weakref.ref(texts, _forget), found
        if (once, beside) not in batch[1]:
            batch[1][once, beside] = find(texts, *beside)
        return batch[1][once, beside]

    return functools.update_wrapper(once, find)


def already(once: Callable[..., Found], texts: pa.Array | pa.ChunkedArray, *beside: Hashable) -> Found | None:
    """What a `shared` function has found in this batch; None where nobody has asked it yet."""
    batch = getattr(_latest, "batch", None)
    if batch is None or batch[0]() is not texts:
        return None
    return batch[1].get((once, beside))


def _forget(column: weakref.ref) -> None:
    """What was found holds the text in memory, so it goes when the column does (in this thread, as a rule)."""
    batch = getattr(_latest, "batch", None)
    if batch is not None and batch[0] is column:
        _latest.batch = None


def let_go() -> None:
    """Keep nothing of what this thread has found in a batch: whoever asks has it found again."""
    _latest.batch = None


@shared
def valid(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(offsets, data) of valid UTF-8; of bytes that are not, what `bytes.decode(errors="replace")` makes."""
    return _valid(text_column(texts))


def _valid(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise  # broken offsets: not a text column at all
        pieces = texts.cast(pa.large_binary()).to_pylist()
        texts = pa.array([piece.decode(errors="replace") for piece in pieces], pa.large_string())
    return utf8(texts)


# ---- Looking at 64 bytes at once ------------------------------------------------------------------------


def _address(context: Any, builder: Any, page_type: Any, page: Any, at: Any) -> Any:
    data = context.make_array(page_type)(context, builder, page).data
    return data if at is None else builder.gep(data, [at])


def in_ranges(*ranges: tuple[int, int]) -> Any:
    """A compiled `mask(page, at) -> uint64`: bit i tells whether byte at + i lies in one of the ranges."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        address = _address(context, builder, signature.args[0], *arguments)
        lanes = builder.load(builder.bitcast(address, vector.as_pointer()), align=1)
        found = None
        for low, high in ranges:
            shifted = builder.sub(lanes, ir.Constant(vector, [low] * 64))  # wraps, so one comparison does
            inside = builder.icmp_unsigned("<=", shifted, ir.Constant(vector, [high - low] * 64))
            found = inside if found is None else builder.or_(found, inside)
        return builder.bitcast(found, ir.IntType(64))

    def mask(typing_context: Any, page: Any, at: Any) -> Any:
        return types.uint64(page, types.int64), generate

    return intrinsic(mask)


def beginnings_of(*texts: str) -> Any:
    """A compiled `mask(page, at) -> uint64`: bit i where the first three bytes of one of these texts may stand at at + i.

    In upper or lower case: the bit 0x20 is not looked at, so a few other bytes pass too.
    """
    tree: dict[int, dict[int, dict[int, dict]]] = {}
    for text in texts:
        branch: dict = tree
        for byte in text.encode()[:3]:
            branch = branch.setdefault(byte | 0x20, {})

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        page, at = arguments
        folded = []
        for further in range(3):
            place = builder.add(at, ir.Constant(at.type, further))
            address = _address(context, builder, signature.args[0], page, place)
            lanes = builder.load(builder.bitcast(address, vector.as_pointer()), align=1)
            folded.append(builder.or_(lanes, ir.Constant(vector, [0x20] * 64)))

        def found(branch: dict, depth: int) -> Any:
            hits = []
            for byte, rest in branch.items():
                hit = builder.icmp_unsigned("==", folded[depth], ir.Constant(vector, [byte] * 64))
                hits.append(builder.and_(hit, found(rest, depth + 1)) if rest else hit)
            return functools.reduce(builder.or_, hits)

        return builder.bitcast(found(tree, 0), ir.IntType(64))

    def mask(typing_context: Any, page: Any, at: Any) -> Any:
        return types.uint64(page, types.int64), generate

    return intrinsic(mask)


@intrinsic
def eight_bytes(typing_context: Any, page: Any, at: Any) -> Any:
    """uint64: the bytes [at, at + 8) of a page, aligned or not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(page, types.int64), generate


@intrinsic
def copy_bytes(typing_context: Any, page: Any, data: Any, start: Any, size: Any) -> Any:
    """The first `size` bytes of a page become data[start:start + size]. A loop over bytes takes ten times as long."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _address(context, builder, signature.args[0], arguments[0], None)
        source = _address(context, builder, signature.args[1], arguments[1], arguments[2])
        copy = builder.module.declare_intrinsic("llvm.memcpy", [target.type, source.type, ir.IntType(64)])
        builder.call(copy, [target, source, arguments[3], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(page, data, types.int64, types.int64), generate


@intrinsic
def count_bits(typing_context: Any, mask: Any) -> Any:
    """int64: how many bits of a mask are set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def lowest_bit(typing_context: Any, mask: Any) -> Any:
    """int64: the place of the lowest bit set; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def leading_zeros(typing_context: Any, mask: Any) -> Any:
    """int64: how many bits above the highest bit set; 64 where none is."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


NO_BITS, ONE_BIT, ALL_BITS = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)

space_mask = in_ranges((0x09, 0x0D), (0x1C, 0x20))
line_break_mask = in_ranges((0x0A, 0x0D), (0x1C, 0x1E))
newline_mask = in_ranges((0x0A, 0x0A))
continuation_mask = in_ranges((0x80, 0xBF))
non_ascii_mask = in_ranges((0x80, 0xFF))
wide_space_mask = in_ranges((0xC2, 0xC2), (0xE1, 0xE3))  # first bytes of all whitespace beyond ASCII


@inlined
def lowest_bits(count):
    """uint64 with the lowest `count` bits set; all of them from 64 on, none below 1."""
    if count >= 64:
        return ALL_BITS
    return (ONE_BIT << np.uint64(max(count, 0))) - ONE_BIT


@inlined
def open_page(page, data, start, end):
    """Copy one document to the page and return its length in bytes."""
    copy_bytes(page, data, start, end - start)
    for at in range(end - start, end - start + PADDING):
        page[at] = 0
    return end - start


@inlined
def blocks_of(length):
    """How many blocks of 64 bytes hold so many, and one."""
    return length // 64 + 1


@loop
def longest_document(offsets):
    """Length in bytes of the longest document: what a page must hold."""
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return longest


@loop
def most_newlines(offsets, data):
    """Of one document. `data` has no zero bytes behind it: its last bytes are looked at one by one."""
    most = 0
    for i in range(len(offsets) - 1):
        newlines, at, end = 0, offsets[i], offsets[i + 1]
        while at < end and at + 64 <= len(data):
            newlines += count_bits(newline_mask(data, at) & lowest_bits(end - at))
            at += 64
        while at < end:
            newlines += data[at] == 0x0A
            at += 1
        most = max(most, newlines)
    return most


# ---- Characters -----------------------------------------------------------------------------------------


@inlined
def decode(page, at):
    """(code point, bytes) of the character at a byte of a page of valid UTF-8."""
    first = np.int64(page[at])
    if first < 0x80:
        return first, 1
    second = np.int64(page[at + 1]) & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(page[at + 2]) & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | (np.int64(page[at + 3]) & 0x3F), 4


@inlined
def last_character(page, start, end):
    """First byte of the last character of page[start:end], which is not empty."""
    at = end - 1
    while at > start and (page[at] & 0xC0) == 0x80:
        at -= 1
    return at


@inlined
def strip(page, start, end, classes):
    """(start, end) without the whitespace on both sides, as `str.strip()`; end == start where all is."""
    while start < end:
        code, width = decode(page, start)
        if not classes[code] & WHITESPACE:
            break
        start += width
    while end > start:
        at = last_character(page, start, end)
        code, _ = decode(page, at)
        if not classes[code] & WHITESPACE:
            break
        end = at
    return start, end


# ---- Words and lines ------------------------------------------------------------------------------------


@inlined
def wide_space_bytes(page, at):
    """Bytes of the whitespace character beyond ASCII that begins at a byte; 0 where none does."""
    first, second, third = page[at], page[at + 1], page[at + 2]
    if first == 0xC2:
        return 2 if second == 0x85 or second == 0xA0 else 0
    if first == 0xE2 and second == 0x80:
        return 3 if third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF else 0
    if first == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    if first == 0xE2:
        return 3 if second == 0x81 and third == 0x9F else 0
    return 3 if first == 0xE3 and second == 0x80 and third == 0x80 else 0


@loop
def find_words(page, length, byte_edges, character_edges, blocks):
    """Fill in where words begin (even places) and end (odd ones), in bytes and in characters.

    `blocks[k]` says which of the 64 bytes from 64 * k on are of words. Returns (words, characters of the page). The
    edges must have room for length + 10 entries, the blocks for `blocks_of(length)`.
    """
    edges = 0
    characters = 0
    in_word = NO_BITS  # 1 where the byte before this block belongs to a word
    spill = NO_BITS  # bytes of this block that belong to a space begun in the block before
    for block in range(0, length, 64):
        text = lowest_bits(length - block)
        space = space_mask(page, block) | spill
        spill = NO_BITS
        wide = wide_space_mask(page, block)
        while wide:
            at = lowest_bit(wide)
            wide &= wide - ONE_BIT
            width = wide_space_bytes(page, block + at)
            space |= lowest_bits(width) << np.uint64(at)
            if at + width > 64:
                spill = lowest_bits(at + width - 64)
        first_bytes = ~continuation_mask(page, block) & text
        word = ~space & text
        blocks[block // 64] = word
        changes = word ^ (word << ONE_BIT | in_word)
        in_word = word >> np.uint64(63)
        found = edges + count_bits(changes)
        while edges < found:  # eight at a time: nobody guesses how many there are, so too many are noted
            for k in range(8):
                at, before = lowest_bit(changes), first_bytes & ~changes & (changes - ONE_BIT)
                byte_edges[edges + k] = block + at
                character_edges[edges + k] = characters + count_bits(before)
                changes &= changes - ONE_BIT
            edges += 8
        edges = found
        characters += count_bits(first_bytes)
    if edges % 2:  # the text ends inside a word, on the border of a block
        byte_edges[edges] = length
        character_edges[edges] = characters
        edges += 1
    return edges // 2, characters


wide_break_mask = in_ranges((0xC2, 0xC2), (0xE2, 0xE2))  # first bytes of U+0085, U+2028 and U+2029


@inlined
def wide_break_bytes(page, at):
    """Bytes of the line break beyond ASCII that begins at a byte; 0 where none does."""
    if page[at] == 0xC2:
        return 2 if page[at + 1] == 0x85 else 0
    last = page[at + 2]
    return 3 if page[at + 1] == 0x80 and (last == 0xA8 or last == 0xA9) else 0


@inlined
def break_bytes(page, at):
    """Bytes of the line break at a byte that an ASCII or a wide mask has marked; 0 where it is none."""
    if page[at] >= 0x80:
        return wide_break_bytes(page, at)
    return 2 if page[at] == 0x0D and page[at + 1] == 0x0A else 1
