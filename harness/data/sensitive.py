"""Personal data and secrets in training rows: a model repeats what it was trained on.

Only unmistakable forms are looked for, so that a finding is worth acting on: numbers with their check
digit, phone numbers of a numbering plan, keys with their issuer's prefix. What is invented by rule is left
out: example domains (RFC 2606), role mailboxes (RFC 2142), numbers reserved for fiction, the card schemes'
test numbers. Names, postal addresses and passwords in running text are not found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.data.findings import Finding
from harness.records import Row

SHARED_SHARE, SHARED_ROWS = 0.05, 5  # an address in more than 5% of the rows, and 5, is the firm's own
MASKS_SHOWN = 3
SPEAKERS = {"user": "the user's message", "assistant": "the reply", "system": "the system message"}
HINTS = {
    "personal-data": "replace it with an invented one (name@example.com) or a placeholder used throughout",
    "secret": "revoke the secret, then take it out of the row: every copy of the file and model holds it",
}


Found: TypeAlias = tuple[str, int, int]  # a value in one form, and the span of the text that it takes


@dataclass(frozen=True, slots=True)
class SensitiveKind:
    """A kind of sensitive text. ``find`` gives each value in a text, ``mask`` a form without it."""

    code: str  # "personal-data" or "secret"
    name: str
    plural: str
    needs: tuple[str, ...]  # texts with none of these are not searched
    find: Callable[[str], Iterable[Found]]
    mask: Callable[[str], str]

    def values(self, text: str) -> frozenset[str]:
        """The distinct values of this kind in ``text``."""
        return frozenset(value for value, _, _ in self.places(text))

    def places(self, text: str) -> list[Found]:
        """Each value in ``text``, with the span that it takes."""
        if self.needs and not any(mark in text for mark in self.needs):
            return []
        return list(self.find(text))


def sensitive_findings(rows: Sequence[Row], lines: Sequence[int]) -> Iterator[Finding]:
    """One finding for each row and kind, in the rows' order; ``lines`` are the rows' line numbers.

    An address, phone number or account in more than 5% of the rows (and more than five) is taken for the
    firm's own and left out; secrets are always reported.
    """
    system_messages: dict[str, list[tuple[SensitiveKind, str]]] = {}  # they repeat, and are searched once
    places: list[list[tuple[SensitiveKind, str, str]]] = []  # of each row: kind, value, role
    for row in rows:
        places.append([])
        for message in row.messages:
            text = "\n".join([message.content, *(call.arguments for call in message.tool_calls)])
            found = system_messages.get(text) if message.role == "system" else None
            if found is None:
                found = [(kind, value) for kind in KINDS for value in sorted(kind.values(text))]
            if message.role == "system":
                system_messages[text] = found
            places[-1] += [(kind, value, message.role) for kind, value in found]
    in_rows = Counter(value for in_row in places for value in {value for _, value, _ in in_row})
    limit = max(SHARED_ROWS, SHARED_SHARE * len(rows))
    for line, in_row in zip(lines, places, strict=True):
        for kind in KINDS:
            reported = [
                (value, role)
                for other, value, role in in_row
                if other is kind and (kind.code == "secret" or in_rows[value] <= limit)
            ]
            if reported:
                count = len({value for value, _ in reported})
                masks = sorted({kind.mask(value) for value, _ in reported} - {""})
                speakers = dict.fromkeys(SPEAKERS.get(role, f"a {role} message") for _, role in reported)
                what = f"1 {kind.name}" if count == 1 else f"{count} {kind.plural}"
                shown = f" ({', '.join(masks[:MASKS_SHOWN])})" if masks else ""
                problem = f"{what}{shown} in {' and '.join(speakers)}"
                yield Finding(kind.code, line, problem, HINTS[kind.code])


def is_sensitive(text: str) -> bool:
    """Whether ``text`` holds anything that must not be shown."""
    return any(kind.values(text) for kind in KINDS)


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


def _emails(text: str) -> Iterator[Found]:
    for match in _EMAIL.finditer(text):
        local, domain = match[1].casefold(), match[2].casefold()
        invented = _RESERVED.search(domain) or local in _MAILBOXES
        file_name = _FILE_ENDING.search(domain) or domain[0].isdigit()  # icon@2x.png, lib@1.0
        if not (invented or file_name or _IN_URL.search(text, 0, match.start())):
            yield f"{local}@{domain}", *match.span()


def _mask_email(value: str) -> str:
    local, _, domain = value.partition("@")
    return "@".join(f"{part[0] if part[0].isalpha() else ''}…" for part in (local, domain))


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


def _issuer(digits: str) -> str:
    return next((name for name, pattern in _ISSUERS if pattern.fullmatch(digits)), "")


def _cards(text: str) -> Iterator[Found]:
    from stdnum import luhn

    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if _issuer(digits) and luhn.is_valid(digits) and digits not in _TEST_CARDS:
            yield digits, *match.span()


# --------------------------------------------------------------------------- bank accounts
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]){11,31}", re.ASCII)
_TEXTBOOK = """
    GB82WEST12345698765432 GB29NWBK60161331926819 GB33BUKB20201555555555 DE89370400440532013000
    FR1420041010050500013M02606 NL91ABNA0417164300 ES9121000418450200051332 IT60X0542811101000000123456
    BE68539007547034 CH9300762011623852957 AT611904300234573201
"""
_TEXTBOOK_IBANS = frozenset(_TEXTBOOK.split())


def _ibans(text: str) -> Iterator[Found]:
    from stdnum import iban

    for match in _IBAN.finditer(text):
        groups = match[0].split(" ")
        whole = len(groups) - text[match.end() : match.end() + 1].isalnum()
        for end in range(whole, 0, -1):  # capital words may follow the number
            compact = "".join(groups[:end])
            if iban.is_valid(compact):
                if compact not in _TEXTBOOK_IBANS:
                    yield compact, match.start(), match.start() + len(" ".join(groups[:end]))
                break


# --------------------------------------------------------------------------- numbers of people
_SSN = re.compile(r"(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-])", re.ASCII)
_TEXTBOOK_SSN = "123-45-6789"
_PHONE = re.compile(r"(?<![\w+*/^=)])\+[1-9](?:[ .\-/()]{0,3}\d){6,14}(?!\w|[.,]\d)", re.ASCII)
_FICTION = re.compile(r"1\d{3}55501\d\d|442079460\d{3}")  # NANPA; Ofcom, whose other ranges are unassigned
FEWEST_DIGITS_APART = 4  # +100 000 000 is an amount


def _ssns(text: str) -> Iterator[Found]:
    from stdnum.us import ssn

    found = (m for m in _SSN.finditer(text) if ssn.is_valid(m[0]) and m[0] != _TEXTBOOK_SSN)
    return ((m[0], *m.span()) for m in found)


def _phones(text: str) -> Iterator[Found]:
    import phonenumbers

    for match in _PHONE.finditer(text):
        ends = [group.end() for group in re.finditer(r"\d+", match[0])]
        for end in reversed(ends):  # other digits may follow the number: "+1 650 253 0000 24/7"
            try:
                number = phonenumbers.parse(match[0][:end])
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(number):
                digits = f"{number.country_code}{number.national_number}"
                invented = _FICTION.fullmatch(digits) or "1234567" in digits
                if not invented and len(set(digits)) >= FEWEST_DIGITS_APART:
                    yield digits, match.start(), match.start() + end
                break


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
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n|\\r)+[A-Za-z0-9+/=]{20,}"
    r"[A-Za-z0-9+/=\s\\]*(?:-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----)?"
)
_JWT = re.compile(r"(?<![\w.-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}", re.ASCII)
_TEXTBOOK_JWT = ".eyJzdWIiOiIxMjM0NTY3ODkw"  # "sub": "1234567890", as on jwt.io


def _keys(text: str) -> Iterator[Found]:
    for match in _KEY.finditer(text):
        body = match[0].removeprefix(_prefix(match[0]))
        mixed = any(c.isdigit() for c in body) or match[0].startswith(("AKIA", "ASIA"))
        if mixed and len(set(body)) >= FEWEST_CHARACTERS_APART and not _STAND_IN.search(body):
            yield match[0], *match.span()


def _prefix(key: str) -> str:
    match = _PREFIX.match(key)
    return match[0] if match else ""


def _pems(text: str) -> Iterator[Found]:
    return ((match[0], *match.span()) for match in _PEM.finditer(text))


def _tokens(text: str) -> Iterator[Found]:
    return ((m[0], *m.span()) for m in _JWT.finditer(text) if _TEXTBOOK_JWT not in m[0])


_SECRETS = (
    ("API key", "API keys", _KEY_MARKS, _keys, lambda key: f"{_prefix(key)}…"),
    ("private key", "private keys", ("-----BEGIN",), _pems, lambda _: "-----BEGIN …"),
    ("JSON Web Token", "JSON Web Tokens", ("eyJ",), _tokens, lambda _: "eyJ…"),
)
_PERSONAL_DATA = (
    ("e-mail address", "e-mail addresses", ("@",), _emails, _mask_email),
    ("payment card number", "payment card numbers", (), _cards, _issuer),
    ("bank account (IBAN)", "bank accounts (IBAN)", (), _ibans, lambda iban: f"{iban[:2]}…"),
    ("US social security number", "US social security numbers", ("-",), _ssns, lambda _: ""),
    ("phone number", "phone numbers", ("+",), _phones, lambda _: "+…"),
)
KINDS = (
    *(SensitiveKind("secret", *kind) for kind in _SECRETS),
    *(SensitiveKind("personal-data", *kind) for kind in _PERSONAL_DATA),
)
