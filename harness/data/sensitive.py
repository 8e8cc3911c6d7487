"""Personal data and secrets in training rows: a model repeats what it was trained on.

Only unmistakable forms are looked for, so that a finding is worth acting on: numbers with their check
digit, keys with their issuer's prefix. What is invented by rule is left out: example domains (RFC 2606),
role mailboxes (RFC 2142), numbers reserved for fiction, the card schemes' test numbers. Names, postal
addresses and passwords in running text are not found. No finding repeats the value itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.data.findings import Finding
from harness.records import Message, Row

SHARED_SHARE = 0.05  # an address in more rows than this is the firm's own,
SHARED_AT_LEAST = 5  # but never one in up to 5 rows
MASKS_SHOWN = 3
ROLES = {"user": "the user's message", "assistant": "the reply", "system": "the system message"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sensitive text. ``find`` gives each value in a text, ``mask`` a form without it."""

    code: str  # "personal-data" or "secret"
    name: str
    plural: str
    needs: tuple[str, ...]  # texts with none of these are not searched
    find: Callable[[str], Iterable[str]]
    mask: Callable[[str], str]

    def values(self, text: str) -> frozenset[str]:
        """The distinct values of this kind in ``text``."""
        if self.needs and not any(mark in text for mark in self.needs):
            return frozenset()
        return frozenset(self.find(text))


def sensitive_findings(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Finding]:
    """One finding for each row and kind, in the rows' order; ``lines`` are the rows' line numbers.

    An address, phone number or account in more than 5% of the rows (and more than five) is taken for the
    firm's own and left out; secrets are always reported.
    """
    seen: dict[str, tuple[tuple[Kind, str], ...]] = {}  # system messages repeat
    places = [list(_values(row, seen)) for row in rows]
    in_rows = Counter(value for found in places for value in {value for _, value, _ in found})
    limit = max(SHARED_AT_LEAST, SHARED_SHARE * len(rows))
    for line, found in zip(lines, places, strict=True):
        for kind in KINDS:
            kept = [
                (value, role)
                for other, value, role in found
                if other is kind and (kind.code == "secret" or in_rows[value] <= limit)
            ]
            if kept:
                yield _finding(kind, line, kept)


def is_sensitive(text: str) -> bool:
    """Whether ``text`` holds anything that must not be shown."""
    return any(kind.values(text) for kind in KINDS)


def _values(row: Row, seen: dict[str, tuple[tuple[Kind, str], ...]]) -> Iterator[tuple[Kind, str, str]]:
    for message in row.messages:
        text = _text(message)
        if text not in seen or message.role != "system":
            found = tuple((kind, value) for kind in KINDS for value in sorted(kind.values(text)))
            if message.role == "system":
                seen[text] = found
        else:
            found = seen[text]
        yield from ((kind, value, message.role) for kind, value in found)


def _text(message: Message) -> str:
    if not message.tool_calls:
        return message.content
    return "\n".join([message.content, *(call.arguments for call in message.tool_calls)])


def _finding(kind: Kind, line: int, found: Sequence[tuple[str, str]]) -> Finding:
    count = len({value for value, _ in found})
    masks = sorted({kind.mask(value) for value, _ in found} - {""})
    roles = dict.fromkeys(ROLES.get(role, f"a {role} message") for _, role in found)
    what = f"1 {kind.name}" if count == 1 else f"{count} {kind.plural}"
    shown = f" ({', '.join(masks[:MASKS_SHOWN])})" if masks else ""
    return Finding(kind.code, line, f"{what}{shown} in {' and '.join(roles)}", HINTS[kind.code])


HINTS = {
    "personal-data": "replace it with an invented one (name@example.com) or a placeholder used throughout",
    "secret": "revoke the secret, then take it out of the row: every copy of the file and model holds it",
}


# --------------------------------------------------------------------------- e-mail
_EMAIL = re.compile(r"(?<![\w.+-])([\w.+-]{1,64})@((?:[^\W_](?:[\w-]{0,62})\.)+[^\W\d_]{2,24})(?![\w-])")
_IN_URL = re.compile(r"://[^\s/@]*$")  # https://user:word@host is no address
_RESERVED = re.compile(r"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost|local)$")
_FILE_ENDING = re.compile(r"\.(?:css|gif|ico|jpe?g|js|json|md|pdf|png|py|svg|ts|txt|webp|ya?ml)$")
_MAILBOX_NAMES = """
    abuse accounts admin billing careers contact do-not-reply donotreply git hello help helpdesk hostmaster
    info jobs legal mail marketing me news newsletter no-reply noreply notifications office orders
    postmaster press privacy returns root sales security service shop support team user username webmaster
    you your yourname
"""
_MAILBOXES = frozenset(_MAILBOX_NAMES.split())


def _emails(text: str) -> Iterator[str]:
    for match in _EMAIL.finditer(text):
        local, domain = match[1].casefold(), match[2].casefold()
        invented = _RESERVED.search(domain) or local in _MAILBOXES
        file_name = _FILE_ENDING.search(domain) or domain[0].isdigit()  # icon@2x.png, lib@1.0
        if not (invented or file_name or _IN_URL.search(text, 0, match.start())):
            yield f"{local}@{domain}"


def _mask_email(value: str) -> str:
    local, _, domain = value.partition("@")
    return f"{_initial(local)}…@{_initial(domain)}…"


def _initial(text: str) -> str:
    return text[0] if text[0].isalpha() else ""


# --------------------------------------------------------------------------- payment cards
_CARD = re.compile(
    r"""(?<![\w.+#-])
    (?:\d{14,16} | \d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})? | \d{4}([ -])\d{6}\2\d{4,5})
    (?![\w-]|\.\d)""",
    re.ASCII | re.VERBOSE,
)
# Scheme prefixes and lengths (ISO/IEC 7812). Visa's 13 digits are long out of use, and are barcodes today.
_ISSUERS = (
    ("Visa", re.compile(r"4(?:\d{15}|\d{18})")),
    ("Mastercard", re.compile(r"(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}")),
    ("American Express", re.compile(r"3[47]\d{13}")),
    ("Discover", re.compile(r"(?:6011|64[4-9]\d|65\d\d)(?:\d{12}|\d{15})")),
    ("Diners Club", re.compile(r"(?:30[0-5]|36\d|38\d)\d{11}")),
    ("JCB", re.compile(r"35(?:2[89]|[3-8]\d)\d{12}")),
    ("UnionPay", re.compile(r"62(?:\d{14}|\d{17})")),
)
_TEST_CARD_NUMBERS = """
    4242424242424242 4111111111111111 4012888888881881 4000056655665556 4000000000000002 4000000000009995
    5555555555554444 5105105105105100 5200828282828210 2223003122003222 378282246310005 371449635398431
    378734493671000 6011111111111117 6011000990139424 30569309025904 38520000023237 3056930009020004
    3530111333300000 3566002020360505 6200000000000005 6200000000000047
"""
_TEST_CARDS = frozenset(_TEST_CARD_NUMBERS.split())


def luhn_valid(digits: str) -> bool:
    """Whether the last digit of ``digits`` is its Luhn check digit (ISO/IEC 7812-1, annex B)."""
    doubled = (int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits)))
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _issuer(digits: str) -> str:
    return next((name for name, pattern in _ISSUERS if pattern.fullmatch(digits)), "")


def _cards(text: str) -> Iterator[str]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if _issuer(digits) and luhn_valid(digits) and digits not in _TEST_CARDS:
            yield digits


# --------------------------------------------------------------------------- bank accounts
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]){11,31}", re.ASCII)
_IBAN_REGISTRY = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24
    FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32
    LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22
    SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""  # SWIFT's: country and length
_IBAN_LENGTH = {entry[:2]: int(entry[2:]) for entry in _IBAN_REGISTRY.split()}
_TEXTBOOK = """
    GB82WEST12345698765432 GB29NWBK60161331926819 GB33BUKB20201555555555 DE89370400440532013000
    FR1420041010050500013M02606 NL91ABNA0417164300 ES9121000418450200051332 IT60X0542811101000000123456
    BE68539007547034 CH9300762011623852957 AT611904300234573201
"""
_TEXTBOOK_IBANS = frozenset(_TEXTBOOK.split())


def iban_valid(compact: str) -> bool:
    """Whether ``compact`` (no spaces) has its country's length and check digits (ISO 13616, mod 97)."""
    if len(compact) != _IBAN_LENGTH.get(compact[:2], 0):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _ibans(text: str) -> Iterator[str]:
    for match in _IBAN.finditer(text):
        # a capital word may follow the number: cut where the country's length ends
        spans = [at for at, c in enumerate(match[0]) if c != " "]
        length = _IBAN_LENGTH.get(match[0][:2], 0)
        if not length or len(spans) < length:
            continue
        end = match.start() + spans[length - 1] + 1
        compact = match[0].replace(" ", "")[:length]
        if not text[end : end + 1].isalnum() and iban_valid(compact) and compact not in _TEXTBOOK_IBANS:
            yield compact


# --------------------------------------------------------------------------- numbers of people
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])", re.ASCII)
_VOID_SSNS = frozenset({"078-05-1120", "219-09-9999", "123-45-6789"})  # printed in adverts and manuals
_PHONE = re.compile(r"(?<![\w+*/^=)])\+[1-9](?:[ .\-/()]{0,3}\d){7,14}(?!\w|[.,]\d)", re.ASCII)
_FICTION = re.compile(r"1\d{3}55501\d\d|447700900\d{3}|442079460\d{3}|441632960\d{3}")  # NANPA, Ofcom
_NANP = re.compile(r"1[2-9]\d\d[2-9]\d{6}")
FEWEST_DIGITS_APART = 4  # +100 000 000 is an amount


def _ssns(text: str) -> Iterator[str]:
    return (match[0] for match in _SSN.finditer(text) if match[0] not in _VOID_SSNS)


def _phones(text: str) -> Iterator[str]:
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        sizes = {len(group) for group in re.findall(r"\d+", match[0])}
        grouped = len(sizes) > 1 or max(sizes) >= 3  # "+10 20 30 40 50" is a list
        amiss = digits[0] == "1" and not _NANP.fullmatch(digits)
        made_up = _FICTION.fullmatch(digits) or "1234567" in digits or len(set(digits)) < FEWEST_DIGITS_APART
        if grouped and not (made_up or amiss):
            yield digits


# --------------------------------------------------------------------------- secrets
_KEY = re.compile(
    r"""(?<![\w-])(?:
    sk-(?=[\w-]*[A-Za-z0-9]{16})[\w-]{20,}          # OpenAI, Anthropic and their kin; not-a-css-class
    | [sr]k_live_[A-Za-z0-9]{20,}                   # Stripe
    | gh[pousr]_[A-Za-z0-9]{36,} | github_pat_\w{50,} | glpat-[\w-]{20,}
    | (?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Z0-9])         # AWS
    | xox[abeoprs]-[A-Za-z0-9-]{20,}                # Slack
    | AIza[\w-]{35} | hf_[A-Za-z0-9]{34}            # Google, Hugging Face
    )""",
    re.ASCII | re.VERBOSE,
)
_KEY_MARKS = ("sk-", "k_live_", "gh", "github_pat_", "glpat-", "AKIA", "ASIA", "xox", "AIza", "hf_")
_PREFIX = re.compile(r"sk-|[sr]k_live_|gh[pousr]_|github_pat_|glpat-|AKIA|ASIA|xox[abeoprs]-|AIza|hf_")
_STAND_IN = re.compile(r"example|xxxx|0000|1234567|abcdef|your|replace|dummy|placeholder", re.IGNORECASE)
FEWEST_CHARACTERS_APART = 8
# the header alone is an explanation; a key has a body, with real or escaped line ends
_PEM = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n|\\r)+[A-Za-z0-9+/=]{20,}")
_JWT = re.compile(r"(?<![\w.-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}", re.ASCII)
_TEXTBOOK_JWT = ".eyJzdWIiOiIxMjM0NTY3ODkw"  # "sub": "1234567890", as on jwt.io


def _keys(text: str) -> Iterator[str]:
    for match in _KEY.finditer(text):
        body = match[0][len(_prefix(match[0])) :]
        mixed = any(c.isdigit() for c in body) or match[0].startswith(("AKIA", "ASIA"))
        if mixed and len(set(body)) >= FEWEST_CHARACTERS_APART and not _STAND_IN.search(body):
            yield match[0]


def _prefix(key: str) -> str:
    match = _PREFIX.match(key)
    return match[0] if match else ""


def _tokens(text: str) -> Iterator[str]:
    return (match[0] for match in _JWT.finditer(text) if _TEXTBOOK_JWT not in match[0])


KINDS = (
    Kind("secret", "API key", "API keys", _KEY_MARKS, _keys, lambda key: f"{_prefix(key)}…"),
    Kind("secret", "private key", "private keys", ("-----BEGIN",), _PEM.findall, lambda _: "-----BEGIN …"),
    Kind("secret", "JSON Web Token", "JSON Web Tokens", ("eyJ",), _tokens, lambda _: "eyJ…"),
    Kind("personal-data", "e-mail address", "e-mail addresses", ("@",), _emails, _mask_email),
    Kind("personal-data", "payment card number", "payment card numbers", (), _cards, _issuer),
    Kind("personal-data", "bank account (IBAN)", "bank accounts (IBAN)", (), _ibans, lambda v: f"{v[:2]}…"),
    Kind(
        "personal-data",
        "US social security number",
        "US social security numbers",
        ("-",),
        _ssns,
        lambda _: "",
    ),
    Kind("personal-data", "phone number", "phone numbers", ("+",), _phones, lambda _: "+…"),
)
