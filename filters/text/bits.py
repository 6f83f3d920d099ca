"""Bits of 64-bit numbers, and bytes of a page eight at a time: what plain loops do not compile to by themselves.

A *mask* is a uint64 of which bit i says something about byte i of 64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types

from filters.text.compiled import inlined, intrinsic


def pointer(context: Any, builder: Any, page_type: Any, page: Any, at: Any) -> Any:
    """Of byte `at` of a page, in LLVM's language."""
    data = context.make_array(page_type)(context, builder, page).data
    return data if at is None else builder.gep(data, [at])


@intrinsic
def eight_bytes(typing_context: Any, page: Any, at: Any) -> Any:
    """uint64: the bytes [at, at + 8) of a page, aligned or not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = pointer(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(address, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(page, types.int64), generate


@intrinsic
def copy_bytes(typing_context: Any, page: Any, data: Any, start: Any, size: Any) -> Any:
    """The first `size` bytes of a page become data[start:start + size]. A loop over bytes takes ten times as long."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = pointer(context, builder, signature.args[0], arguments[0], None)
        source = pointer(context, builder, signature.args[1], arguments[1], arguments[2])
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


@inlined
def lowest_bits(count):
    """uint64 with the lowest `count` bits set; all of them from 64 on, none below 1."""
    if count >= 64:
        return ALL_BITS
    return (ONE_BIT << np.uint64(max(count, 0))) - ONE_BIT
