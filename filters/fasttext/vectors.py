"""What `fasttext.predict` asks of the processor's vectors, which loops over arrays that may overlap do not get.

Rows of a matrix are added in the order in which they are listed, every column by itself, so the sum has the same
bits as one row after another in a loop; only that the sum stays in registers between two rows. Hashes of n-grams
are made side by side.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from filters.text.compiled import inlined, intrinsic

LANES = 16  # n-grams that are hashed side by side
FILTER_BITS = 18  # 32 kB stay near the processor
FNV_OFFSET, FNV_PRIME = 2166136261, 16777619


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any, vector: Any) -> Any:
    """A pointer to so many lanes of an array, from its element `at` on."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def copier(lanes: int, bits: int) -> Any:
    """A compiled `copy(target, at, source, start)` of so many numbers of so many bits."""
    vector = ir.VectorType(ir.IntType(bits), lanes)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, at, source, start = arguments
        values = builder.load(_place(context, builder, signature.args[2], source, start, vector), align=1)
        builder.store(values, _place(context, builder, signature.args[0], target, at, vector), align=1)
        return context.get_dummy_value()

    def copy(typing_context: Any, target: Any, at: Any, source: Any, start: Any) -> Any:
        return types.none(target, types.int64, source, types.int64), generate

    return intrinsic(copy)


@intrinsic
def hash_bytes(typing_context: Any, word: Any, base: Any, high: Any, found: Any) -> Any:
    """found[n, at]: FNV-1a of the n bytes of a word from byte `at` on, of LANES from `base` on; 1 <= n <= `high`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        text, base, high, found = arguments
        i64, wide = ir.IntType(64), ir.VectorType(ir.IntType(32), LANES)
        table = context.make_array(signature.args[3])(context, builder, found)
        width = cgutils.unpack_tuple(builder, table.shape)[1]
        hashes = cgutils.alloca_once_value(builder, ir.Constant(wide, [FNV_OFFSET] * LANES))
        with cgutils.for_range(builder, high) as step:
            at = builder.add(base, step.index)
            letters = _place(
                context, builder, signature.args[0], text, at, ir.VectorType(ir.IntType(8), LANES)
            )
            mixed = builder.xor(builder.load(hashes), builder.sext(builder.load(letters, align=1), wide))
            hash_ = builder.mul(mixed, ir.Constant(wide, [FNV_PRIME] * LANES))
            builder.store(hash_, hashes)
            n = builder.add(step.index, ir.Constant(i64, 1))
            to = builder.gep(table.data, [builder.add(builder.mul(n, width), base)])
            builder.store(hash_, builder.bitcast(to, wide.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.none(word, types.int64, types.int64, found), generate


@intrinsic
def hash_grams(
    typing_context: Any, word: Any, base: Any, steps: Any, starts: Any, low: Any, high: Any, found: Any
) -> Any:
    """found[n, at]: FNV-1a of the n characters of a word that begin at byte `at`, of LANES bytes from `base` on.

    `starts`: bits of the bytes at which a character begins, and of the word's end. `low` <= n <= `high`. A byte a step,
    until the longest of these n-grams has ended. What begins inside of a character, or ends behind the word, means nothing.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        text, base, steps, starts, low, high, found = arguments
        i16, i32, i64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
        wide, flags = ir.VectorType(i32, LANES), ir.VectorType(ir.IntType(1), LANES)
        table = context.make_array(signature.args[6])(context, builder, found)
        width = cgutils.unpack_tuple(builder, table.shape)[1]
        store = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [wide, wide.as_pointer(), i32, flags]),
            f"llvm.masked.store.v{LANES}i32.p0v{LANES}i32",
        )
        hashes = cgutils.alloca_once_value(builder, ir.Constant(wide, [FNV_OFFSET] * LANES))
        counts = cgutils.alloca_once_value(builder, ir.Constant(wide, [0] * LANES))  # characters begun
        with cgutils.for_range(builder, steps) as step:
            at = builder.add(base, step.index)
            start = builder.bitcast(builder.trunc(builder.lshr(starts, at), i16), flags)
            hash_, count = builder.load(hashes), builder.load(counts)
            with cgutils.for_range(builder, builder.add(high, ir.Constant(i64, 1)), low) as length:
                n = _all_lanes(builder, builder.trunc(length.index, i32), wide)
                ended = builder.and_(start, builder.icmp_signed("==", count, n))
                to = builder.gep(table.data, [builder.add(builder.mul(length.index, width), base)])
                to = builder.bitcast(to, wide.as_pointer())
                builder.call(store, [hash_, to, ir.Constant(i32, 4), ended])
            letters = builder.load(
                _place(context, builder, signature.args[0], text, at, ir.VectorType(ir.IntType(8), LANES)),
                align=1,
            )
            mixed = builder.xor(hash_, builder.sext(letters, wide))
            builder.store(builder.mul(mixed, ir.Constant(wide, [FNV_PRIME] * LANES)), hashes)
            builder.store(builder.add(count, builder.zext(start, wide)), counts)
        return context.get_dummy_value()

    arguments = (word, types.int64, types.int64, types.uint64, types.int64, types.int64, found)
    return types.none(*arguments), generate


@intrinsic
def remainders(typing_context: Any, hashes: Any, at: Any, divisor: Any) -> Any:
    """hashes[at + j] %= divisor, of LANES. The quotient in floating point is off by one at most."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, divisor = arguments
        narrow, wide = (ir.VectorType(ir.IntType(bits), LANES) for bits in (32, 64))
        real = ir.VectorType(ir.DoubleType(), LANES)
        place = _place(context, builder, signature.args[0], array, at, narrow)
        values = builder.zext(builder.load(place, align=4), wide)
        factor = builder.fdiv(ir.Constant(ir.DoubleType(), 1.0), builder.sitofp(divisor, ir.DoubleType()))
        quotient = builder.fmul(builder.uitofp(values, real), _all_lanes(builder, factor, real))
        divisors, zero = _all_lanes(builder, divisor, wide), ir.Constant(wide, [0] * LANES)
        rest = builder.sub(values, builder.mul(builder.fptosi(quotient, wide), divisors))
        rest = builder.add(rest, builder.select(builder.icmp_signed("<", rest, zero), divisors, zero))
        rest = builder.sub(rest, builder.select(builder.icmp_signed(">=", rest, divisors), divisors, zero))
        builder.store(builder.trunc(rest, narrow), place, align=4)
        return context.get_dummy_value()

    return types.none(hashes, types.int64, types.int64), generate


@intrinsic
def bits_at(typing_context: Any, bits: Any, places: Any, at: Any) -> Any:
    """uint64: bit j is that of `places[at + j]`, of LANES, in a set of 2^FILTER_BITS: its lowest bits say where."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        set_, places, at = arguments
        i32 = ir.IntType(32)
        wide, flags = ir.VectorType(i32, LANES), ir.VectorType(ir.IntType(1), LANES)
        wanted = builder.load(_place(context, builder, signature.args[1], places, at, wide), align=4)
        words = builder.bitcast(
            context.make_array(signature.args[0])(context, builder, set_).data, i32.as_pointer()
        )
        own = builder.and_(wanted, ir.Constant(wide, [(1 << FILTER_BITS) - 1] * LANES))
        index = builder.lshr(own, ir.Constant(wide, [5] * LANES))
        held = ir.Constant(wide, ir.Undefined)
        for lane in range(LANES):  # one by one: compilers make a branch of each lane of a masked gather
            which = ir.Constant(i32, lane)
            place = builder.zext(builder.extract_element(index, which), ir.IntType(64))
            held = builder.insert_element(held, builder.load(builder.gep(words, [place])), which)
        held = builder.lshr(held, builder.and_(wanted, ir.Constant(wide, [31] * LANES)))
        return builder.zext(builder.bitcast(builder.trunc(held, flags), ir.IntType(LANES)), ir.IntType(64))

    return types.uint64(bits, places, types.int64), generate


def _all_lanes(builder: Any, value: Any, vector: Any) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), lanes)


def _adder(lanes: int) -> Any:
    """A compiled `add(total, matrix, rows, n, column)`: total[column : column + lanes] += those of n listed rows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        total, matrix, rows, n, column = arguments
        vector, row_type = ir.VectorType(ir.FloatType(), lanes), signature.args[2].dtype
        kinds = signature.args
        width = cgutils.unpack_tuple(builder, context.make_array(kinds[1])(context, builder, matrix).shape)[1]
        listed = context.make_array(kinds[2])(context, builder, rows).data
        sum_at = _place(context, builder, kinds[0], total, column, vector)
        sum_ = cgutils.alloca_once_value(builder, builder.load(sum_at, align=4))
        with cgutils.for_range(builder, n) as loop:
            row = builder.load(builder.gep(listed, [loop.index]))
            row = context.cast(builder, row, row_type, types.int64)
            at = builder.add(builder.mul(row, width), column)
            term = builder.load(_place(context, builder, kinds[1], matrix, at, vector), align=4)
            builder.store(builder.fadd(builder.load(sum_), term), sum_)
        builder.store(builder.load(sum_), sum_at, align=4)
        return context.get_dummy_value()

    def add(typing_context: Any, total: Any, matrix: Any, rows: Any, n: Any, column: Any) -> Any:
        return types.none(total, matrix, rows, types.int64, types.int64), generate

    return intrinsic(add)


_add_sixteen, _add_four, _add_one = _adder(16), _adder(4), _adder(1)


@inlined
def add_rows(matrix_RD, rows, n, total_D):
    """total_D += matrix_RD[rows[0]], then rows[1], up to n of them."""
    columns = len(total_D)
    column = 0
    while column + 16 <= columns:
        _add_sixteen(total_D, matrix_RD, rows, n, column)
        column += 16
    while column + 4 <= columns:
        _add_four(total_D, matrix_RD, rows, n, column)
        column += 4
    while column < columns:
        _add_one(total_D, matrix_RD, rows, n, column)
        column += 1


@intrinsic
def high_product(typing_context: Any, left: Any, right: Any) -> Any:
    """uint64: the upper half of the 128 bits of a product."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate
