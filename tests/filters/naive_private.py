"""What is private, by regular expressions and the checks of the standard library."""

from __future__ import annotations

import ipaddress
import re

PEM_BYTES = 16_384
# What stands behind country and check digits (SWIFT's registry): so many digits (n), capitals (a), of either (c).
BBAN = """
AD 4n4n12c  AE 3n16n  AL 8n16c  AT 5n11n  AZ 4a20c  BA 3n3n8n2n  BE 3n7n2n  BG 4a4n2n8c  BH 4a14c  BI 5n5n11n2n
BR 8n5n10n1a1c  BY 4c4n16c  CH 5n12c  CR 4n14n  CY 3n5n16c  CZ 4n16n  DE 8n10n  DJ 5n5n11n2n  DK 4n9n1n  DO 4c20n
EE 2n14n  EG 4n4n17n  ES 4n4n1n1n10n  FI 3n11n  FK 2a12n  FO 4n9n1n  FR 5n5n11c2n  GB 4a6n8n  GE 2a16n  GI 4a15c
GL 4n9n1n  GR 3n4n16c  GT 4c20c  HN 4a20n  HR 7n10n  HU 3n4n1n15n1n  IE 4a6n8n  IL 3n3n13n  IQ 4a3n12n  IS 4n2n6n10n
IT 1a5n5n12c  JO 4a4n18c  KW 4a22c  KZ 3n13c  LB 4n20c  LC 4a24c  LI 5n12c  LT 5n11n  LU 3n13c  LV 4a13c  LY 3n3n15n
MC 5n5n11c2n  MD 2c18c  ME 3n13n2n  MK 3n10c2n  MN 4n12n  MR 5n5n11n2n  MT 4a5n18c  MU 4a2n2n12n3n3a  NI 4a20n
NL 4a10n  NO 4n6n1n  OM 3n16c  PK 4a16c  PL 8n16n  PS 4a21c  PT 4n4n11n2n  QA 4a21c  RO 4a16c  RS 3n13n2n  RU 9n5n15c
SA 2n18c  SC 4a2n2n16n3a  SD 2n12n  SE 3n16n1n  SI 5n8n2n  SK 4n6n10n  SM 1a5n5n12c  SO 4n3n12n  ST 4n4n11n2n  SV 4a20n
TL 3n14n2n  TN 2n3n13n2n  TR 5n1n16c  UA 6n19c  VA 3n15n  VG 4a16n  XK 4n10n2n  YE 4a4n18c
"""


def iban_lengths() -> dict[str, int]:
    entries = BBAN.split()
    return {
        country: 4 + sum(map(int, re.findall(r"\d+", form)))
        for country, form in zip(entries[::2], entries[1::2], strict=True)
    }


LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
]  # fmt: skip


def emails(text: str) -> list[tuple[int, int, int]]:
    """(place of the sign that gives it away, start, end) of each, overlapping ones too."""
    found = []
    for sign in re.finditer("@", text):
        at = sign.start()
        local = re.search(r"[A-Za-z0-9._%+-]*\Z", text[:at])[0]
        if len(local) > 64:
            continue
        local = local.lstrip(".")
        domain = re.match(r"[A-Za-z0-9.-]*", text[at + 1 : at + 255])[0]
        labels = []
        for label in domain.split("."):
            if not label or not label[0].isalnum():
                break
            labels.append(label)
        # What follows the last label: hyphens behind the address are none of it.
        whole = len(labels) == len(domain.split("."))
        if labels and whole:
            labels[-1] = labels[-1].rstrip("-")
        if any(not re.fullmatch(LABEL, label) for label in labels) or len(labels) < 2 or not local:
            continue
        if not re.fullmatch(r"[A-Za-z]{2,}", labels[-1]):
            continue
        found.append((at, at - len(local), at + 1 + len(".".join(labels))))
    return found


def ipv4_addresses(text: str) -> list[tuple[int, int, int]]:
    found = []
    for match in re.finditer(
        r"(?<![A-Za-z0-9._])\d{1,3}(?:\.\d{1,3}){3}(?![A-Za-z0-9_])(?!\.\d)", text, re.ASCII
    ):
        octets = match[0].split(".")
        if any(len(o) > 1 and o[0] == "0" or int(o) > 255 for o in octets):
            continue
        if not any(ipaddress.ip_address(match[0]) in network for network in NOT_PUBLIC):
            found.append((match.start(), *match.span()))
    return found


def ipv6_addresses(text: str) -> list[tuple[int, int, int]]:
    found = []
    for match in re.finditer(r"(?<![A-Za-z0-9:])[0-9a-fA-F]{3,4}:[0-9a-fA-F:]*(?![A-Za-z0-9])", text):
        if len(match[0]) > 40 or match.end() < len(text) and text[match.end()] == ":":
            continue
        told = match[0][:-1] if re.search(r"[^:]:\Z", match[0]) else match[0]
        try:
            address = ipaddress.IPv6Address(told)
        except ValueError:
            continue
        written = len([group for group in told.split(":") if group])
        if (
            written >= 3
            and address in ipaddress.ip_network("2000::/3")
            and address not in ipaddress.ip_network("2001:db8::/32")
        ):
            found.append((match.start(), match.start(), match.start() + len(told)))
    return found


def phone_numbers(text: str) -> list[tuple[int, int, int]]:
    found = []
    for match in re.finditer(r"(?<![A-Za-z0-9])\+(?=[1-9])", text):
        place, digits, end, brackets = match.end(), 0, 0, 0
        while place < len(text):
            c, before = text[place], text[place - 1]
            if c in "0123456789":
                digits, end = digits + 1, place + 1
            elif c == "(" and not brackets and re.match(r"[0-9]", text[place + 1 : place + 2]):
                brackets = 1
            elif c == ")" and brackets == 1 and before in "0123456789":
                brackets = 2
            elif not (c in " .-" and before in "0123456789)"):
                break
            place += 1
        if 8 <= digits <= 15 and brackets != 1 and not re.match(r"[A-Za-z0-9]", text[end : end + 1]):
            found.append((match.start(), match.start(), end))
    three = "[2-9][0-9]{2}"
    plain = rf"(?<![A-Za-z0-9])(?<![-.+])(?:{three}-{three}-|{three}\.{three}\.)[0-9]{{4}}(?![A-Za-z0-9])(?![-.][0-9])"
    bracket = rf"(?<![A-Za-z0-9])(?<![-.+])\({three}\) ?{three}-[0-9]{{4}}(?![A-Za-z0-9])(?![-.][0-9])"
    for form in (plain, bracket):
        found += [(m.start() + (form is bracket), *m.span()) for m in re.finditer(form, text)]
    return found


def luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + k % 2) for k, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


CARDS = (
    r"4\d{12}|4\d{15}|4\d{18}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|(?:36|38|39)\d{12,17}|30[0-5]\d{11,16}|(?=\d{16,19}\Z)(?:6011|65|64[4-9]|35(?:2[89]|[3-8]\d)|62)\d+"
)


def card_numbers(text: str) -> list[tuple[int, int, int]]:
    found = []
    for match in re.finditer(r"(?<![A-Za-z0-9._-])[0-9]{4}", text):
        rows = (
            re.match(rf"[0-9]+(?:{mark}[0-9]+)*", text[match.start() : match.start() + 60])[0]
            for mark in (" ", "-")
        )
        number = max(rows, key=len)
        digits = re.sub("[ -]", "", number)
        after = text[match.start() + len(number) :][:1]
        if " " in number and re.search(r"[0-9] \Z", text[: match.start()]):
            continue
        if (
            not re.match(r"[A-Za-z0-9_]", after)
            and len(digits) <= 19
            and re.fullmatch(CARDS, digits)
            and luhn(digits)
        ):
            found.append((match.start(), match.start(), match.start() + len(number)))
    return found


def ibans(text: str) -> list[tuple[int, int, int]]:
    lengths = iban_lengths()
    found = []
    for match in re.finditer(r"(?<![A-Za-z0-9])[A-Z]{2}(?=[0-9]{2})", text):
        length = lengths.get(match[0])
        if not length:
            continue
        for form in (
            rf"[A-Z0-9]{{{length}}}",
            rf"(?:[A-Z0-9]{{4}} ){{{(length - 1) // 4}}}[A-Z0-9]{{{(length - 1) % 4 + 1}}}",
        ):
            whole = re.match(form + "(?![A-Za-z0-9])", text[match.start() :])
            if whole:
                compact = whole[0].replace(" ", "")
                number = "".join(str(int(c, 36)) for c in compact[4:] + compact[:4])
                if int(number) % 97 == 1:
                    found.append((match.start(), match.start(), match.start() + whole.end()))
    return found


KEYS = (  # with how far behind the start the sign stands that is looked for
    (r"(?<![A-Za-z0-9_-])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])", 0),
    (r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])", 0),
    (r"(?<![A-Za-z0-9_-])gh[pousr]_[A-Za-z0-9]{36}(?![A-Za-z0-9])", 3),
    (r"(?<![A-Za-z0-9_-])github_pat_[A-Za-z0-9_]{40,}", 6),
    (r"(?<![A-Za-z0-9_-])[sr]k_live_[A-Za-z0-9]{24,}", 2),
    (r"(?<![A-Za-z0-9_-])xox[abprs]-[A-Za-z0-9-]{20,}", 4),
    (r"(?<![A-Za-z0-9_-])sk-(?=[a-z_-]*[A-Z0-9])[A-Za-z0-9_-]{40,}", 2),
    (r"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]{7,}\.eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{10,}", 0),
    (r"-----BEGIN (?:[A-Z]{0,40} ){0,3}PRIVATE KEY-----[\s\S]*?-----END (?:[A-Z]* ?)*-----", 0),
)


def secret_keys(text: str) -> list[tuple[int, int, int]]:
    return [
        (m.start() + sign, *m.span())
        for form, sign in KEYS
        for m in re.finditer(form, text)
        if len(m[0]) <= PEM_BYTES
    ]


FINDERS = {
    "email": emails, "ipv4_address": ipv4_addresses, "ipv6_address": ipv6_addresses, "phone_number": phone_numbers,
    "card_number": card_numbers, "iban": ibans, "secret_key": secret_keys,
}  # fmt: skip


def private(text: str) -> dict[str, list[tuple[int, int]]]:
    """Byte spans by kind; of those that overlap the one whose sign comes first."""
    told = {}
    for kind, find in FINDERS.items():
        kept: list[tuple[int, int]] = []
        for _, start, end in sorted(find(text)):
            if not kept or kept[-1][1] <= start:
                kept.append((start, end))
        told[kind] = [(len(text[:a].encode()), len(text[:b].encode())) for a, b in kept]
    return told
