"""Private: what identifies a person or opens a door, as spans that a level may mask or cut.

Each kind is found by its form, and the form is strict enough to mean what it says: a card number has to pass Luhn's
check, an IBAN its own check, an address of the internet has to be a public one. Names and postal addresses are not
looked for. The rules, where "alone" means that no ASCII letter or digit touches it:

- e-mail: 1..64 of `A-Z a-z 0-9 . _ % + -`, no dot first; `@`; labels of letters, digits and inner hyphens with dots
  between, at least two, the last one of two letters or more.
- IPv4 address: four numbers up to 255 with dots between (no leading zeros), alone and no part of a longer dotted
  number, outside of the ranges kept for private and special use (RFC 6890) and of multicast.
- IPv6 address: in 2000::/3 but not in 2001:db8::/32, alone, with at least three groups written out.
- phone number: `+`, not after a letter or digit, then 8..15 digits (ITU-T E.164) with single spaces, dots, hyphens,
  or brackets between; or ten digits as `ddd-ddd-dddd`, `ddd.ddd.dddd` or `(ddd) ddd-dddd` with neither
  group of three beginning in 0 or 1 (North America).
- card number: 13..19 digits, alone, all together or in groups with single spaces or single hyphens, that pass
  Luhn's check and begin as those of Visa, Mastercard, American Express, Discover, JCB, Diners or UnionPay do.
- IBAN: a country's code and length (SWIFT's registry), all together or in groups of four, whose remainder by 97 is 1
  (ISO 13616).
- secret key: AWS (`AKIA`, `ASIA`), GitHub (`ghp_` ..., `github_pat_`), Slack (`xoxb-` ...), Google (`AIza`), Stripe
  (`sk_live_`, `rk_live_`), OpenAI and Anthropic (`sk-`, forty characters or more), JSON web tokens, and private key
  blocks in PEM.
"""

from __future__ import annotations

from enum import IntEnum
from string import ascii_lowercase, ascii_uppercase

import numpy as np
import pyarrow as pa

from filters.columns import columns, count, span
from filters.family import Family, Signal
from filters.text.batches import valid
from filters.text.bits import NO_BITS, ONE_BIT, lowest_bits, places
from filters.text.compiled import inlined, kernel, loop
from filters.text.masks import any_of, capital_mask, digit_mask
from filters.text.pages import PADDING, longest_document, open_page, with_room
from filters.text.phrases import is_one_of, stands_at

Kind = IntEnum("Kind", [
    "EMAIL", "IPV4_ADDRESS", "IPV6_ADDRESS", "PHONE_NUMBER", "CARD_NUMBER", "IBAN", "SECRET_KEY",
], start=0)  # fmt: skip
KINDS = tuple(kind.name.lower() for kind in Kind)
SHORTEST = 6  # bytes of the shortest span, an e-mail address
PEM_BYTES = 16_384  # of the longest private key block

# Lengths of IBANs by country.
IBAN_LENGTHS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24
FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32
LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24
RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""

at_sign, plus_sign, colons, hyphens, underscores = map(any_of, "@+:-_")
letter_A, letter_J, letter_e, letter_y = map(any_of, "AJey")
second_of_key = any_of("IKS")  # AIza, AKIA, ASIA

DIGIT, UPPER, LOWER, LOCAL_MARK, HYPHEN, DOT, HEXADECIMAL, UNDERSCORE = 1, 2, 4, 8, 16, 32, 64, 128
ALPHANUMERIC = DIGIT | UPPER | LOWER


def _classes() -> np.ndarray:
    """uint8 [256]: which classes each byte belongs to."""
    classes = np.zeros(256, np.uint8)
    for members, kind in (
        ("0123456789", DIGIT), (ascii_uppercase, UPPER), (ascii_lowercase, LOWER), ("_%+", LOCAL_MARK),
        ("-", HYPHEN), (".", DOT), ("0123456789abcdefABCDEF", HEXADECIMAL), ("_", UNDERSCORE),
    ):  # fmt: skip
        classes[np.frombuffer(members.encode(), np.uint8)] |= kind
    return classes


def _iban_lengths() -> np.ndarray:
    """int64 [26 * 26]: length by country, 0 where there is none."""
    lengths = np.zeros(26 * 26, np.int64)
    for entry in IBAN_LENGTHS.split():
        lengths[(ord(entry[0]) - 65) * 26 + ord(entry[1]) - 65] = int(entry[2:])
    return lengths


CLASSES, LENGTHS = _classes(), _iban_lengths()


@inlined
def _is(page, at, kinds):
    """The byte at `at` belongs to one of the kinds; no byte before the page does."""
    return at >= 0 and CLASSES[page[at]] & kinds != 0


@inlined
def _run(page, at, end, kinds):
    """The first place from `at` on that belongs to none of the kinds."""
    while at < end and CLASSES[page[at]] & kinds:
        at += 1
    return at


@inlined
def _alone(page, start, end, length):
    return not _is(page, start - 1, ALPHANUMERIC) and not (end < length and _is(page, end, ALPHANUMERIC))


# ------------------------------------------------------------------------------- what stands at a place, if anything


@loop
def _email(page, at, length):
    """(start, end) of the address around the `@` at `at`, or (0, 0)."""
    start = at
    local = ALPHANUMERIC | LOCAL_MARK | HYPHEN | DOT
    while start > 0 and at - start <= 64 and CLASSES[page[start - 1]] & local:
        start -= 1
    if at - start > 64:
        return 0, 0
    while start < at and page[start] == 0x2E:
        start += 1
    label, dots, end = at + 1, 0, 0
    while start < at:
        stop = _run(page, label, min(length, at + 255), ALPHANUMERIC | HYPHEN)
        while stop > label and page[stop - 1] == 0x2D and not (stop < length and page[stop] == 0x2E):
            stop -= 1  # a hyphen behind the address is none of it
        if stop == label or page[label] == 0x2D or page[stop - 1] == 0x2D:
            break
        if dots and stop - label >= 2 and _run(page, label, stop, UPPER | LOWER) == stop:
            end = stop
        else:
            end = 0 if dots else end
        if stop >= length or page[stop] != 0x2E:
            break
        label, dots = stop + 1, dots + 1
        if label >= length or not CLASSES[page[label]] & ALPHANUMERIC:
            break  # a full stop behind the address
    return (start, end) if end else (0, 0)


@inlined
def _is_public(a, b, c):
    special = a == 0 or a == 10 or a == 127 or a >= 224
    special |= (a == 100 and 64 <= b < 128) or (a == 169 and b == 254) or (a == 172 and 16 <= b < 32)
    special |= a == 192 and (b == 168 or (b == 0 and (c == 0 or c == 2)))
    special |= a == 198 and (b == 18 or b == 19 or (b == 51 and c == 100))
    return not (special or (a == 203 and b == 0 and c == 113))


@loop
def _ipv4(page, start, length):
    """End of the public address that begins at `start`, or 0."""
    if _is(page, start - 1, ALPHANUMERIC | DOT | UNDERSCORE):
        return 0
    at, a, b, c = start, 0, 0, 0
    for octet in range(4):
        first, value = at, 0
        while at < length and at - first < 4 and CLASSES[page[at]] & DIGIT:
            value = value * 10 + page[at] - 0x30
            at += 1
        if at == first or value > 255 or (page[first] == 0x30 and at - first > 1):
            return 0
        if octet == 3:
            break
        a, b, c = (value if octet == 0 else a), (value if octet == 1 else b), (value if octet == 2 else c)
        if at >= length or page[at] != 0x2E:
            return 0
        at += 1
    longer = at < length and (
        CLASSES[page[at]] & (ALPHANUMERIC | UNDERSCORE)
        or (page[at] == 0x2E and at + 1 < length and CLASSES[page[at + 1]] & DIGIT)
    )
    return at if _is_public(a, b, c) and not longer else 0


@loop
def _ipv6(page, start, length):
    """End of the address in 2000::/3 that begins at `start`, or 0."""
    if _is(page, start - 1, ALPHANUMERIC) or (start > 0 and page[start - 1] == 0x3A):
        return 0
    end = start
    while end < length and end - start <= 40 and (CLASSES[page[end]] & HEXADECIMAL or page[end] == 0x3A):
        end += 1
    if end - start > 40 or (end < length and CLASSES[page[end]] & ALPHANUMERIC):
        return 0
    if page[end - 1] == 0x3A and page[end - 2] != 0x3A:
        end -= 1  # a colon behind the address
    groups, size, value, row_of_colons, gaps, valid_so_far = 0, 0, 0, 0, 0, True
    first, documentation = 0, False
    for k in range(start, end):
        if page[k] == 0x3A:
            row_of_colons += 1
            groups += size > 0
            size, value = 0, 0
            gaps += row_of_colons == 2
            valid_so_far &= row_of_colons <= 2
        else:
            row_of_colons = 0
            size += 1
            valid_so_far &= size <= 4
            value = value * 16 + ((page[k] & 0x0F) + (0 if CLASSES[page[k]] & DIGIT else 9))
            first = value if groups == 0 else first
            if groups == 1 and not gaps:
                documentation = first == 0x2001 and value == 0xDB8
    groups += size > 0
    whole = (groups == 8 and gaps == 0) or (3 <= groups <= 7 and gaps == 1)
    return end if valid_so_far and whole and 0x2000 <= first <= 0x3FFF and not documentation else 0


@loop
def _international(page, start, length):
    """End of the phone number whose `+` is at `start`, or 0."""
    if _is(page, start - 1, ALPHANUMERIC) or not _is(page, start + 1, DIGIT) or page[start + 1] == 0x30:
        return 0
    at, end, count, brackets = start + 1, 0, 0, 0
    while at < length:
        byte = page[at]
        if CLASSES[byte] & DIGIT:
            count += 1
            end = at + 1
            if count > 15:
                return 0
        elif byte == 0x28:
            if brackets or not (at + 1 < length and CLASSES[page[at + 1]] & DIGIT):
                break
            brackets = 1
        elif byte == 0x29:
            if brackets != 1 or not CLASSES[page[at - 1]] & DIGIT:
                break
            brackets = 2
        elif is_one_of(byte, b" .-"):
            if not (CLASSES[page[at - 1]] & DIGIT or page[at - 1] == 0x29):
                break
        else:
            break
        at += 1
    after = end < length and CLASSES[page[end]] & ALPHANUMERIC
    return end if 8 <= count <= 15 and brackets != 1 and not after else 0


@inlined
def _three(page, at, length):
    """Three digits at `at`, the first 2 or more."""
    return at + 3 <= length and 0x32 <= page[at] <= 0x39 and _run(page, at, at + 3, DIGIT) == at + 3


@loop
def _north_american(page, start, length):
    """(start, end) of ddd-ddd-dddd, ddd.ddd.dddd or (ddd) ddd-dddd whose first digit is at `start`, or (0, 0)."""
    if not _three(page, start, length) or start + 4 > length:
        return 0, 0
    at = start + 3
    # A bracket may also stand around the whole number: (ddd-ddd-dddd).
    bracket = start > 0 and page[start - 1] == 0x28 and page[at] == 0x29
    if bracket:
        at += 1
        if at < length and page[at] == 0x20:
            at += 1
        mark = np.uint8(0x2D)
    else:
        mark = page[at]
        if mark != 0x2D and mark != 0x2E:
            return 0, 0
        at += 1
    if not _three(page, at, length) or at + 8 > length or page[at + 3] != mark:
        return 0, 0
    end = at + 8
    if _run(page, at + 4, end, DIGIT) != end:
        return 0, 0
    begin = start - 1 if bracket else start
    marked = begin > 0 and is_one_of(page[begin - 1], b"-.+")
    longer = end + 1 < length and is_one_of(page[end], b"-.") and CLASSES[page[end + 1]] & DIGIT
    return (begin, end) if _alone(page, begin, end, length) and not marked and not longer else (0, 0)


@inlined
def _begins_as_a_card(prefix6, size):
    """`prefix6`: the number's first six digits."""
    two, three, four = prefix6 // 10000, prefix6 // 1000, prefix6 // 100
    if two // 10 == 4:
        return size == 13 or size == 16 or size == 19
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return size == 16
    if two == 34 or two == 37:
        return size == 15
    if two == 36 or two == 38 or two == 39 or 300 <= three <= 305:
        return 14 <= size <= 19
    return size >= 16 and (
        four == 6011 or two == 65 or 644 <= three <= 649 or 3528 <= four <= 3589 or two == 62
    )


@loop
def _card(page, start, length):
    """End of the card number that begins at `start`, or 0."""
    at, size, prefix6, mark, even, odd = start, 0, 0, np.uint8(0), 0, 0
    while at < length and size < 20:
        byte = page[at]
        if CLASSES[byte] & DIGIT:
            value = int(byte) - 0x30
            prefix6 = prefix6 * 10 + value if size < 6 else prefix6
            twice = value * 2 - 9 if value > 4 else value * 2
            even, odd = odd + value, even + twice  # sums with the last digit counted once, and counted twice
            size += 1
        elif (
            (byte == 0x20 or byte == 0x2D)
            and (mark == 0 or mark == byte)
            and at + 1 < length
            and CLASSES[page[at + 1]] & DIGIT
        ):
            mark = byte
        else:
            break
        at += 1
    if size < 13 or size > 19 or even % 10 or not _begins_as_a_card(prefix6, size):
        return 0
    near = _is(page, start - 1, ALPHANUMERIC | DOT | HYPHEN | UNDERSCORE) or (
        start > 1 and page[start - 1] == 0x20 and mark == 0x20 and _is(page, start - 2, DIGIT)
    )
    after = at < length and CLASSES[page[at]] & (ALPHANUMERIC | UNDERSCORE)
    return at if not near and not after else 0


@loop
def _iban(page, start, length):
    """End of the IBAN whose country's code is at `start`, or 0."""
    wanted = LENGTHS[(page[start] - 65) * 26 + page[start + 1] - 65]
    if not wanted or _is(page, start - 1, ALPHANUMERIC):
        return 0
    at, size, tail, head = start, 0, 0, 0
    spaced = page[start + 4] == 0x20
    while at < length and size < wanted:
        byte = page[at]
        if spaced and size and size % 4 == 0 and page[at - 1] != 0x20:
            if byte != 0x20:
                return 0
            at += 1
            continue
        if not CLASSES[byte] & (DIGIT | UPPER):
            return 0
        value = int(byte) - 0x30 if CLASSES[byte] & DIGIT else int(byte) - 55
        factor = 10 if value < 10 else 100
        if size < 4:
            head = head * factor + value
        else:
            tail = (tail * factor + value) % 97
        size += 1
        at += 1
    letters = 1_000_000  # the country's letters and the check digits go to the end: six digits
    ok = size == wanted and (tail * letters + head) % 97 == 1
    return at if ok and _alone(page, start, at, length) else 0


TOKEN = ALPHANUMERIC | UNDERSCORE | HYPHEN


@loop
def _key(page, start, begin, length, least, most, kinds):
    """End of a key from `start` that has `least` to `most` bytes of these kinds from `begin` on, or 0."""
    if _is(page, start - 1, TOKEN):
        return 0
    end = _run(page, begin, length, kinds)
    return end if least <= end - begin <= most else 0


@loop
def _key_with_A(page, at, length):
    if stands_at(page, at + 1, length, b"Iza"):
        return _key(page, at, at + 4, length, 35, 35, TOKEN)
    if stands_at(page, at + 1, length, b"KIA") or stands_at(page, at + 1, length, b"SIA"):
        return _key(page, at, at + 4, length, 16, 16, DIGIT | UPPER)
    return 0


@loop
def _key_with_underscore(page, at, length):
    """(start, end) of a key whose first `_` is at `at`; the end is 0 where there is none."""
    if stands_at(page, at - 3, length, b"gh") and is_one_of(page[at - 1], b"pousr"):
        return at - 3, _key(page, at - 3, at + 1, length, 36, 36, ALPHANUMERIC)
    if stands_at(page, at - 6, length, b"github_pat_"):
        return at - 6, _key(page, at - 6, at + 5, length, 40, length, ALPHANUMERIC | UNDERSCORE)
    if stands_at(page, at - 2, length, b"sk_live_") or stands_at(page, at - 2, length, b"rk_live_"):
        return at - 2, _key(page, at - 2, at + 6, length, 24, length, ALPHANUMERIC)
    return 0, 0


@loop
def _private_key(page, at, length):
    """End of a PEM block whose first line begins at `at`: `-----BEGIN RSA PRIVATE KEY-----`, with up to four words."""
    begin = at + 11
    for _ in range(4):
        if stands_at(page, begin, length, b"PRIVATE KEY-----"):
            break
        begin = _run(page, begin, min(length, begin + 40), UPPER) + 1
        if page[begin - 1] != 0x20:
            return 0
    if not stands_at(page, begin, length, b"PRIVATE KEY-----"):
        return 0
    k, last = begin + 16, min(length, at + PEM_BYTES)
    while k < last and not stands_at(page, k, length, b"-----END "):
        k += 1
    if k >= last:
        return 0
    k = _run(page, k + 9, length, UPPER)
    while k < length and page[k] == 0x20:
        k = _run(page, k + 1, min(length, k + 40), UPPER)
    end = k + 5
    return end if stands_at(page, k, length, b"-----") and end - at <= PEM_BYTES else 0


@loop
def _key_with_hyphen(page, at, length):
    """(start, end) of a key whose first `-` is at `at`; the end is 0 where there is none."""
    if stands_at(page, at, length, b"-----BEGIN "):
        return at, _private_key(page, at, length)
    if stands_at(page, at - 4, length, b"xox") and is_one_of(page[at - 1], b"abprs"):
        return at - 4, _key(page, at - 4, at + 1, length, 20, length, ALPHANUMERIC | HYPHEN)
    if stands_at(page, at - 2, length, b"sk"):
        end = _key(page, at - 2, at + 1, length, 40, length, TOKEN)
        if end and _run(page, at + 1, end, LOWER | HYPHEN | UNDERSCORE) < end:
            return at - 2, end
    return 0, 0


@loop
def _web_token(page, start, length):
    """End of a JSON web token: three runs of base64url with dots between, the first two of which begin `eyJ`."""
    if _is(page, start - 1, TOKEN | DOT):
        return 0
    first = _run(page, start, length, TOKEN)
    if first - start < 10 or page[first] != 0x2E or not stands_at(page, first + 1, length, b"eyJ"):
        return 0
    second = _run(page, first + 1, length, TOKEN)
    if second - first < 10 or second >= length or page[second] != 0x2E:
        return 0
    third = _run(page, second + 1, length, TOKEN)
    return third if third - second > 10 else 0


# --------------------------------------------------------------------------------------------- one document


@inlined
def _note(spans, counts, kind, start, end):
    """Add a span after the last one of its kind, unless they overlap."""
    n = counts[kind]
    if end and (n == 0 or spans[kind, n - 1, 1] <= start):
        spans[kind, n, 0], spans[kind, n, 1] = start, end
        counts[kind] = n + 1


@loop
def _numbers(page, length, spans, counts):
    """Everything that begins with a digit or a `+`."""
    carry = NO_BITS
    for block in range(0, length, 64):
        here = digit_mask(page, block)
        begins = (here & ~(here << ONE_BIT | carry) | plus_sign(page, block)) & lowest_bits(length - block)
        carry = here >> np.uint64(63)
        for at in places(begins, block):
            if page[at] == 0x2B:
                _note(spans, counts, Kind.PHONE_NUMBER.value, at, _international(page, at, length))
                continue
            end = _run(page, at, min(length, at + 20), DIGIT)
            if end - at <= 3 and end < length and page[end] == 0x2E:
                _note(spans, counts, Kind.IPV4_ADDRESS.value, at, _ipv4(page, at, length))
            if end - at == 3:
                start, stop = _north_american(page, at, length)
                _note(spans, counts, Kind.PHONE_NUMBER.value, start, stop)
            if end - at >= 4:
                _note(spans, counts, Kind.CARD_NUMBER.value, at, _card(page, at, length))


@loop
def _others(page, length, spans, counts):
    """Everything that has another sign to look for."""
    for block in range(0, length, 60):  # 60 bytes a step: four bytes side by side never leave the mask
        text = lowest_bits(min(length - block, 60))
        for at in places(at_sign(page, block) & text, block):
            start, end = _email(page, at, length)
            _note(spans, counts, Kind.EMAIL.value, start, end)
        upper, digit = capital_mask(page, block), digit_mask(page, block)
        for at in places(
            upper & (upper >> ONE_BIT) & (digit >> np.uint64(2)) & (digit >> np.uint64(3)) & text, block
        ):
            _note(spans, counts, Kind.IBAN.value, at, _iban(page, at, length))
        with_A = letter_A(page, block) & (second_of_key(page, block) >> ONE_BIT)
        web = (
            letter_e(page, block)
            & (letter_y(page, block) >> ONE_BIT)
            & (letter_J(page, block) >> np.uint64(2))
        )
        for at in places((with_A | web | underscores(page, block) | hyphens(page, block)) & text, block):
            start, end = at, 0
            if page[at] == 0x41:
                end = _key_with_A(page, at, length)
            elif page[at] == 0x65:
                end = _web_token(page, at, length)
            elif page[at] == 0x5F:
                start, end = _key_with_underscore(page, at, length)
            else:
                start, end = _key_with_hyphen(page, at, length)
            _note(spans, counts, Kind.SECRET_KEY.value, start, end)
        for at in places(colons(page, block) & text, block):
            start = at
            while start > 0 and at - start < 5 and CLASSES[page[start - 1]] & HEXADECIMAL:
                start -= 1
            if 3 <= at - start <= 4:
                _note(spans, counts, Kind.IPV6_ADDRESS.value, start, _ipv6(page, start, length))


@kernel
def _find(offsets, data, tallies):
    """Fill in int64 [kinds, documents]; returns the kinds of all documents' spans, and their edges."""
    longest = longest_document(offsets)
    page = np.empty(longest + PADDING, np.uint8)
    spans = np.empty((len(tallies), longest // SHORTEST + 2, 2), np.int64)
    counts = np.zeros(len(tallies), np.int64)
    kinds, edges, filled = np.empty(64, np.int64), np.empty(128, np.int64), 0
    for i in range(len(offsets) - 1):
        length = open_page(page, data, offsets[i], offsets[i + 1])
        counts[:] = 0
        _numbers(page, length, spans, counts)
        _others(page, length, spans, counts)
        tallies[:, i] = counts
        kinds, edges = with_room(kinds, filled, counts.sum()), with_room(edges, 2 * filled, 2 * counts.sum())
        for kind in range(len(counts)):
            for k in range(counts[kind]):
                kinds[filled] = kind
                edges[2 * filled], edges[2 * filled + 1] = spans[kind, k, 0], spans[kind, k, 1]
                filled += 1
    return kinds[:filled], edges[: 2 * filled]


def _signals(kind: Kind, says: str) -> tuple[Signal, Signal]:
    name = kind.name.lower()
    return span(f"{name}_spans", kind, name, says), count(f"{name}_count", "spans", kind, says)


SIGNALS = (
    *_signals(Kind.EMAIL, "e-mail addresses"),
    *_signals(Kind.IPV4_ADDRESS, "public IPv4 addresses"),
    *_signals(Kind.IPV6_ADDRESS, "public IPv6 addresses"),
    *_signals(Kind.PHONE_NUMBER, "phone numbers, international or North American"),
    *_signals(Kind.CARD_NUMBER, "payment card numbers that pass Luhn's check"),
    *_signals(Kind.IBAN, "bank accounts (IBAN) that pass their check"),
    *_signals(Kind.SECRET_KEY, "access keys, tokens and private key blocks of known forms"),
    count("private_count", "spans", lambda measured: measured.tallies.sum(axis=0),
          "spans of all these kinds together (Dolma 1.6 bounds such a count at 5)"),
)  # fmt: skip


def measure(texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
    """Private spans of every text; none in an empty or missing one."""
    offsets, data = valid(texts)
    tallies = np.zeros((len(Kind), len(offsets) - 1), np.int64)
    kinds, edges = _find(offsets, data, tallies)
    pairs = edges.reshape(-1, 2)
    return columns(
        SIGNALS, tallies=tallies, **{name: pairs[kinds == k].ravel() for k, name in enumerate(KINDS)}
    )


FAMILY = Family("private", 3, measure, SIGNALS)
