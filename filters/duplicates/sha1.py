"""SHA-1 (FIPS 180-4) of short byte strings, for signatures that must equal those of libraries which hash by it."""

from __future__ import annotations

import numpy as np

from filters.text.compiled import inlined, kernel


@inlined
def _rotate(x, by):
    return np.uint32(np.uint32(x << np.uint32(by)) | np.uint32(x >> np.uint32(32 - by)))


@kernel
def sha1_head(text, size, w):
    """The first four bytes of the SHA-1 of text[:size], as a little-endian number: `datasketch`'s sha1_hash32.

    `text` must have room for 72 bytes behind: the padding of the last block is written there. `w` is scratch, uint32 [80].
    """
    blocks = (size + 8) // 64 + 1
    text[size : blocks * 64] = 0
    text[size] = 0x80
    for k in range(8):
        text[blocks * 64 - 1 - k] = size * 8 >> 8 * k & 0xFF
    h0, h1, h2 = np.uint32(0x67452301), np.uint32(0xEFCDAB89), np.uint32(0x98BADCFE)
    h3, h4 = np.uint32(0x10325476), np.uint32(0xC3D2E1F0)
    for block in range(blocks):
        for t in range(16):
            at = block * 64 + 4 * t
            w[t] = (
                np.uint32(text[at]) << 24
                | np.uint32(text[at + 1]) << 16
                | np.uint32(text[at + 2]) << 8
                | text[at + 3]
            )
        for t in range(16, 80):
            w[t] = _rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1)
        a, b, c, d, e = h0, h1, h2, h3, h4
        for t in range(80):
            if t < 20:
                f, constant = np.uint32(b & c | ~b & d), np.uint32(0x5A827999)
            elif t < 40:
                f, constant = np.uint32(b ^ c ^ d), np.uint32(0x6ED9EBA1)
            elif t < 60:
                f, constant = np.uint32(b & c | b & d | c & d), np.uint32(0x8F1BBCDC)
            else:
                f, constant = np.uint32(b ^ c ^ d), np.uint32(0xCA62C1D6)
            total = np.uint32(np.uint32(np.uint32(_rotate(a, 5) + f) + np.uint32(e + constant)) + w[t])
            e, d, c, b, a = d, c, _rotate(b, 30), a, total
        h0, h1, h2 = np.uint32(h0 + a), np.uint32(h1 + b), np.uint32(h2 + c)
        h3, h4 = np.uint32(h3 + d), np.uint32(h4 + e)
    swapped = (
        (h0 & np.uint32(0xFF)) << 24 | (h0 >> 8 & np.uint32(0xFF)) << 16 | (h0 >> 16 & np.uint32(0xFF)) << 8
    )
    return np.uint32(swapped | h0 >> 24)
