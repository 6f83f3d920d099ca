"""64 bytes looked at with one comparison: compiled functions that give a mask, bit i for byte i.

These are written in LLVM's vector language, the one thing here that is not plain Python. They read past a text's end:
a page has `PADDING` zero bytes there (see `pages`).
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import types

from filters.text.bits import ARRAY, instruction, pointer

VECTOR = ir.VectorType(ir.IntType(8), 64)
mask_of_bytes = instruction(types.uint64, ARRAY, types.int64)


def in_ranges(*ranges: tuple[int, int]) -> Any:
    """A compiled `mask(page, at) -> uint64`: bit i tells whether byte at + i lies in one of the ranges."""

    @mask_of_bytes
    def mask(context, builder, kinds, page, at):
        lanes = builder.load(pointer(context, builder, kinds[0], page, at, VECTOR), align=1)
        inside = []
        for low, high in ranges:
            shifted = builder.sub(lanes, ir.Constant(VECTOR, [low] * 64))  # wraps, so one comparison does
            inside.append(builder.icmp_unsigned("<=", shifted, ir.Constant(VECTOR, [high - low] * 64)))
        return builder.bitcast(functools.reduce(builder.or_, inside), ir.IntType(64))

    return mask


def beginnings_of(*texts: str) -> Any:
    """A compiled `mask(page, at) -> uint64`: bit i where the first three bytes of one of these texts may stand at at + i.

    In upper or lower case: the bit 0x20 is not looked at, so a few other bytes pass too.
    """
    tree: dict[int, dict[int, dict[int, dict]]] = {}
    for text in texts:
        branch: dict = tree
        for byte in text.encode()[:3]:
            branch = branch.setdefault(byte | 0x20, {})

    @mask_of_bytes
    def mask(context, builder, kinds, page, at):
        folded = []
        for further in range(3):
            place = builder.add(at, ir.Constant(at.type, further))
            lanes = builder.load(pointer(context, builder, kinds[0], page, place, VECTOR), align=1)
            folded.append(builder.or_(lanes, ir.Constant(VECTOR, [0x20] * 64)))

        def beginning(branch: dict, depth: int) -> Any:
            hits = []
            for byte, rest in branch.items():
                hit = builder.icmp_unsigned("==", folded[depth], ir.Constant(VECTOR, [byte] * 64))
                hits.append(builder.and_(hit, beginning(rest, depth + 1)) if rest else hit)
            return functools.reduce(builder.or_, hits)

        return builder.bitcast(beginning(tree, 0), ir.IntType(64))

    return mask


def any_of(characters: str) -> Any:
    """A compiled `mask(page, at) -> uint64` of the bytes that are one of these characters of ASCII."""
    return in_ranges(*((ord(character), ord(character)) for character in characters))


space_mask = in_ranges((0x09, 0x0D), (0x1C, 0x20))
line_break_mask = in_ranges((0x0A, 0x0D), (0x1C, 0x1E))
newline_mask = any_of("\n")
letter_mask = in_ranges((0x41, 0x5A), (0x61, 0x7A))
capital_mask = in_ranges((0x41, 0x5A))
digit_mask = in_ranges((0x30, 0x39))
hash_mask, dot_mask = any_of("#"), any_of(".")
non_ascii_mask = in_ranges((0x80, 0xFF))
continuation_mask = in_ranges((0x80, 0xBF))
wide_space_mask = in_ranges((0xC2, 0xC2), (0xE1, 0xE3))  # first bytes of all whitespace beyond ASCII
wide_break_mask = in_ranges((0xC2, 0xC2), (0xE2, 0xE2))  # first bytes of U+0085, U+2028 and U+2029
ellipsis_mask = in_ranges((0xE2, 0xE2))  # first byte of "…", and of other characters
