"""What `fasttext.predict` asks of the processor's vectors, which loops over arrays that may overlap do not get.

Rows of a matrix are added in the order in which they are listed, every column by itself, so the sum has the same
bits as one row after another in a loop; only that the sum stays in registers between two rows. Hashes of n-grams
are made side by side.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from filters.text.bits import ARRAY, instruction, pointer
from filters.text.compiled import inlined

LANES = 16  # n-grams that are hashed side by side
FILTER_BITS = 18  # 32 kB stay near the processor
FNV_OFFSET, FNV_PRIME = 2166136261, 16777619
I16, I32, I64, REAL = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.DoubleType()
LETTERS, FLAGS = (ir.VectorType(ir.IntType(bits), LANES) for bits in (8, 1))
NARROW, WIDE, REALS = (ir.VectorType(kind, LANES) for kind in (I32, I64, REAL))


def copier(lanes: int, bits: int) -> Any:
    """A compiled `copy(target, at, source, start)` of so many numbers of so many bits."""
    vector = ir.VectorType(ir.IntType(bits), lanes)

    @instruction(types.none, ARRAY, types.int64, ARRAY, types.int64)
    def copy(context, builder, kinds, target, at, source, start):
        values = builder.load(pointer(context, builder, kinds[2], source, start, vector), align=1)
        builder.store(values, pointer(context, builder, kinds[0], target, at, vector), align=1)

    return copy


def _same(vector: ir.VectorType, value: int) -> ir.Constant:
    """A number in all lanes of a vector."""
    return ir.Constant(vector, [value] * vector.count)


def _row(context: Any, builder: Any, kind: Any, table: Any, n: Any, at: Any) -> Any:
    """A pointer to LANES numbers of table[n, at:]."""
    array = context.make_array(kind)(context, builder, table)
    width = cgutils.unpack_tuple(builder, array.shape)[1]
    return pointer(context, builder, kind, table, builder.add(builder.mul(n, width), at), NARROW)


def _with_letters(context: Any, builder: Any, kind: Any, hashes: Any, text: Any, at: Any) -> Any:
    """FNV-1a of LANES hashes and a byte of the text each, from byte `at` on. A byte counts with its sign."""
    letters = builder.load(pointer(context, builder, kind, text, at, LETTERS), align=1)
    return builder.mul(builder.xor(hashes, builder.sext(letters, NARROW)), _same(NARROW, FNV_PRIME))


@instruction(types.none, ARRAY, types.int64, types.int64, ARRAY)
def hash_bytes(context, builder, kinds, text, base, high, hashes_of):
    """hashes_of[n, at]: FNV-1a of the n bytes of a word from byte `at` on, of LANES from `base` on; 1 <= n <= `high`."""
    hashes = cgutils.alloca_once_value(builder, _same(NARROW, FNV_OFFSET))
    with cgutils.for_range(builder, high) as step:
        at = builder.add(base, step.index)
        hash_ = _with_letters(context, builder, kinds[0], builder.load(hashes), text, at)
        builder.store(hash_, hashes)
        n = builder.add(step.index, ir.Constant(I64, 1))
        builder.store(hash_, _row(context, builder, kinds[3], hashes_of, n, base), align=4)


@instruction(types.none, ARRAY, types.int64, types.int64, types.uint64, types.int64, types.int64, ARRAY)
def hash_grams(context, builder, kinds, text, base, steps, starts, low, high, hashes_of):
    """hashes_of[n, at]: FNV-1a of the n characters of a word that begin at byte `at`, of LANES bytes from `base` on.

    `starts`: bits of the bytes at which a character begins, and of the word's end. `low` <= n <= `high`. A byte a step,
    until the longest of these n-grams has ended. What begins inside of a character, or ends behind the word, means nothing.
    """
    store = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [NARROW, NARROW.as_pointer(), I32, FLAGS]),
        f"llvm.masked.store.v{LANES}i32.p0v{LANES}i32",
    )
    hashes = cgutils.alloca_once_value(builder, _same(NARROW, FNV_OFFSET))
    counts = cgutils.alloca_once_value(builder, _same(NARROW, 0))  # characters begun
    with cgutils.for_range(builder, steps) as step:
        at = builder.add(base, step.index)
        start = builder.bitcast(builder.trunc(builder.lshr(starts, at), I16), FLAGS)
        hash_, count = builder.load(hashes), builder.load(counts)
        with cgutils.for_range(builder, builder.add(high, ir.Constant(I64, 1)), low) as length:
            n = _all_lanes(builder, builder.trunc(length.index, I32), NARROW)
            ended = builder.and_(start, builder.icmp_signed("==", count, n))
            to = _row(context, builder, kinds[6], hashes_of, length.index, base)
            builder.call(store, [hash_, to, ir.Constant(I32, 4), ended])
        builder.store(_with_letters(context, builder, kinds[0], hash_, text, at), hashes)
        builder.store(builder.add(count, builder.zext(start, NARROW)), counts)


@instruction(types.none, ARRAY, types.int64, types.int64)
def remainders(context, builder, kinds, hashes, at, divisor):
    """hashes[at + j] %= divisor, of LANES. The quotient in floating point is off by one at most."""
    place = pointer(context, builder, kinds[0], hashes, at, NARROW)
    values = builder.zext(builder.load(place, align=4), WIDE)
    factor = builder.fdiv(ir.Constant(REAL, 1.0), builder.sitofp(divisor, REAL))
    quotient = builder.fmul(builder.uitofp(values, REALS), _all_lanes(builder, factor, REALS))
    divisors, zero = _all_lanes(builder, divisor, WIDE), _same(WIDE, 0)
    rest = builder.sub(values, builder.mul(builder.fptosi(quotient, WIDE), divisors))
    rest = builder.add(rest, builder.select(builder.icmp_signed("<", rest, zero), divisors, zero))
    rest = builder.sub(rest, builder.select(builder.icmp_signed(">=", rest, divisors), divisors, zero))
    builder.store(builder.trunc(rest, NARROW), place, align=4)


@instruction(types.uint64, ARRAY, ARRAY, types.int64)
def bits_at(context, builder, kinds, bits, places, at):
    """uint64: bit j is that of `places[at + j]`, of LANES, in a set of 2^FILTER_BITS: its lowest bits say where."""
    wanted = builder.load(pointer(context, builder, kinds[1], places, at, NARROW), align=4)
    words = pointer(context, builder, kinds[0], bits, None, I32)
    index = builder.lshr(builder.and_(wanted, _same(NARROW, (1 << FILTER_BITS) - 1)), _same(NARROW, 5))
    held = ir.Constant(NARROW, ir.Undefined)
    for lane in range(LANES):  # one by one: compilers make a branch of each lane of a masked gather
        which = ir.Constant(I32, lane)
        place = builder.zext(builder.extract_element(index, which), I64)
        held = builder.insert_element(held, builder.load(builder.gep(words, [place])), which)
    held = builder.lshr(held, builder.and_(wanted, _same(NARROW, 31)))
    return builder.zext(builder.bitcast(builder.trunc(held, FLAGS), ir.IntType(LANES)), I64)


def _all_lanes(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(I32, 0))
    lanes = _same(ir.VectorType(I32, vector.count), 0)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


def _adder(lanes: int) -> Any:
    """A compiled `add(total, matrix, rows, n, column)`: total[column : column + lanes] += those of n listed rows."""
    vector = ir.VectorType(ir.FloatType(), lanes)

    @instruction(types.none, ARRAY, ARRAY, ARRAY, types.int64, types.int64)
    def add(context, builder, kinds, total, matrix, rows, n, column):
        width = cgutils.unpack_tuple(builder, context.make_array(kinds[1])(context, builder, matrix).shape)[1]
        sum_at = pointer(context, builder, kinds[0], total, column, vector)
        sum_ = cgutils.alloca_once_value(builder, builder.load(sum_at, align=4))
        with cgutils.for_range(builder, n) as loop:
            row = builder.load(pointer(context, builder, kinds[2], rows, loop.index))
            row = context.cast(builder, row, kinds[2].dtype, types.int64)
            at = builder.add(builder.mul(row, width), column)
            term = builder.load(pointer(context, builder, kinds[1], matrix, at, vector), align=4)
            builder.store(builder.fadd(builder.load(sum_), term), sum_)
        builder.store(builder.load(sum_), sum_at, align=4)

    return add


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


@instruction(types.uint64, types.uint64, types.uint64)
def high_product(context, builder, kinds, left, right):
    """uint64: the upper half of the 128 bits of a product."""
    wide = ir.IntType(128)
    product = builder.mul(builder.zext(left, wide), builder.zext(right, wide))
    return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), I64)
