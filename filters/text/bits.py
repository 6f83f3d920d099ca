"""Bits of 64-bit numbers, and bytes of a page eight at a time: what plain loops do not compile to by themselves.

A *mask* is a uint64 of which bit i says something about byte i of 64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import types

from filters.text.compiled import inlined

ARRAY = None  # in a list of argument types: an array of any type


def instruction(result: Any, *kinds: Any) -> Callable[[Callable], Any]:
    """Compile what is written in LLVM's language: `generate(context, builder, types, *arguments)` gives the value.

    `kinds`: the types of the arguments. A function that returns nothing gives a dummy value.
    """

    def decorate(generate: Callable) -> Any:
        def typed(typing_context: Any, *given: Any) -> Any:
            of_call = (own if kind is ARRAY else kind for kind, own in zip(kinds, given, strict=True))
            return result(*of_call), lowered

        def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = generate(context, builder, signature.args, *arguments)
            return context.get_dummy_value() if value is None else value

        typed.__name__, typed.__doc__ = generate.__name__, generate.__doc__
        context, _, _, *arguments = inspect.signature(generate).parameters.values()
        typed.__signature__ = inspect.Signature([context, *arguments])  # type: ignore[attr-defined]
        # Numba's type for it wants the compiler's argument from callers too.
        intrinsic: Any = extending.intrinsic
        return intrinsic(typed)

    return decorate


def pointer(context, builder, kind, array, at, vector=None):
    """In LLVM's language: of element `at` of an array, and those behind it as a vector."""
    data = context.make_array(kind)(context, builder, array).data
    place = data if at is None else builder.gep(data, [at])
    return place if vector is None else builder.bitcast(place, vector.as_pointer())


@instruction(types.uint64, ARRAY, types.int64)
def eight_bytes(context, builder, kinds, page, at):
    """uint64: the bytes [at, at + 8) of a page, aligned or not."""
    return builder.load(pointer(context, builder, kinds[0], page, at, ir.IntType(64)), align=1)


@instruction(types.void, ARRAY, ARRAY, types.int64, types.int64)
def copy_bytes(context, builder, kinds, page, data, start, size):
    """The first `size` bytes of a page become data[start:start + size]. A loop over bytes takes ten times as long."""
    target = pointer(context, builder, kinds[0], page, None)
    source = pointer(context, builder, kinds[1], data, start)
    copy = builder.module.declare_intrinsic("llvm.memcpy", [target.type, source.type, ir.IntType(64)])
    builder.call(copy, [target, source, size, ir.Constant(ir.IntType(1), 0)])


@instruction(types.int64, types.uint64)
def count_bits(context, builder, kinds, mask):
    """int64: how many bits of a mask are set."""
    return builder.ctpop(mask)


@instruction(types.int64, types.uint64)
def lowest_bit(context, builder, kinds, mask):
    """int64: the place of the lowest bit set; 64 where none is."""
    return builder.cttz(mask, ir.Constant(ir.IntType(1), 0))


@instruction(types.int64, types.uint64)
def leading_zeros(context, builder, kinds, mask):
    """int64: how many bits above the highest bit set; 64 where none is."""
    return builder.ctlz(mask, ir.Constant(ir.IntType(1), 0))


NO_BITS, ONE_BIT, ALL_BITS = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)


@inlined
def places(mask, block):
    """The places of the bits set, from the lowest one on; `block` is that of the first bit. A loop over them costs no
    more than one that clears the bits itself."""
    while mask:
        yield block + lowest_bit(mask)
        mask &= mask - ONE_BIT


@inlined
def lowest_bits(count):
    """uint64 with the lowest `count` bits set; all of them from 64 on, none below 1."""
    if count >= 64:
        return ALL_BITS
    return (ONE_BIT << np.uint64(max(count, 0))) - ONE_BIT
