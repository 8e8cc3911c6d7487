"""Whether a text mentions another: words as words, numbers as numbers.

A text is read as a sequence of tokens, and mentions another where that one's tokens stand in it one after the
other. White space counts for nothing between tokens, and both texts are in Unicode's composed form.

**Words** are runs of letters, marks and digits. An apostrophe joins ("can" is not in "can't"), but for
endings that are words of their own ("Paris" is in "Paris's", "I" in "I'm") and for elision ("eau" is in
"l'eau"). Where words are written without spaces (Chinese, Hiragana, Thai, Lao, Khmer, Burmese) each
character is a token. English numerals are one word: "seven" is not in "twenty-seven", nor "five" in "five
hundred".

**Numbers** are compared by their value: 1,000 is 1000, 12.50 is 12.5, and neither 14 nor 3 is in 3.14. A sign
counts ("-5", "−5", "minus 5"), and so do exponents (1e3) and multiples (5k, 5 million). Points and commas are
read as English has them or as German has them, on both sides alike: 1.234,56 is 1234.56 and 1,5 is 1.5; with
exactly three zeros they group (12,000 and 12.000 are 12000). A unit is a word of its own, with or without a
space: 5 is in "5kg", "5 kg", "12" in "12%", "€12". To insist on the unit, write it into the wanted text.
What holds digits and is no number is one token and only equal to itself: a range (3-5), a time (10:30), a
date, a fraction (1/2), a version, a telephone number, a code with leading zeros (007), an ordinal (4th), a
decade (1990s), and what hangs on letters (H2O, COVID-19).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Literal, TypeAlias

import regex

from harness.scoring.patterns import nfc

Convention: TypeAlias = Literal[".", ","]  # the mark before decimals
CONVENTIONS: tuple[Convention, Convention] = (".", ",")
MOST_CHARACTERS = 100_000  # of an answer; no task asks for as many, and they take a second
LONGEST_NUMBER = 100  # characters; longer ones are compared as text

_BETWEEN = "\x1f"  # no text holds it: it is white space
_EXACT = Context(prec=2 * LONGEST_NUMBER)
_TOKEN = regex.compile(
    r"""
    (?P<phone> \+\d(?:[ ().-]{0,2}\d){7,} )
    | (?P<sign> (?<![\p{L}\p{M}\p{N}_)\]%]) [-−+] (?=\p{Sc}?[ ]?\.?\d) )?
      (?P<currency> \p{Sc}[ ]? (?=\.?\d) )?
      (?P<digits>
        \d+[ ]\d+/\d+(?![\d/])                                  # 5 1/2
        | \d{1,3}(?:[ \u00a0\u2007\u2009\u202f]\d{3})+(?![ ]?\d)(?:[.,]\d+)?   # 1 000
        | \d+(?:[.,:/'^_–—−-]\d+)*                              # 12, 12,000, 10:30, 3-5
        | (?<![\p{L}\p{N}.])\.\d+                               # .5
      )
      (?P<power> [ ]?[×x·⋅*][ ]?10(?:(?:\^|\*\*)[-+−]?\d+|[⁺⁻]?[⁰¹²³⁴-⁹]+)(?!\d)
        | [eE][-+−]?\d+(?![\p{L}\p{N}_]) )?
      (?P<other> \p{No}+ )?
      (?P<glued> WORD+ )?
    | (?P<unspaced> ALONE \p{M}* )
    | (?P<word> WORD+
        (?: ['\u200c\u200d] WORD+ )* )
    | (?P<mark> \S )
    """.replace("WORD", r"[[\p{L}\p{M}\p{N}_]--ALONE]").replace(
        "ALONE", r"[\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    ),
    regex.VERBOSE | regex.V1,
)
_APOSTROPHES = str.maketrans("’ʼ＇", "'''")
_ENDINGS = frozenset(["s", "m", "re", "ve", "ll", "d"])
_ELIDED = frozenset(
    [
        "l",
        "d",
        "j",
        "m",
        "n",
        "s",
        "t",
        "c",
        "qu",
        "jusqu",
        "lorsqu",
        "puisqu",
        "quoiqu",
        "un",
        "dell",
        "all",
        "dall",
        "nell",
        "sull",
        "coll",
        "quell",
        "quest",
        "bell",
        "sant",
    ]
)
_ORDINALS = frozenset(["st", "nd", "rd", "th", "er", "e", "ère", "re", "ème", "eme", "nde", "º", "ª"])
_MULTIPLES = {"k": 3, "K": 3, "M": 6, "B": 9, "mn": 6, "bn": 9, "Mio": 6, "mio": 6, "Mrd": 9, "mrd": 9}
_MULTIPLE_WORDS = {
    **dict.fromkeys(["hundred", "hundert"], 2),
    **dict.fromkeys(["thousand", "tausend", "mille"], 3),
    **dict.fromkeys(
        ["million", "millions", "millionen", "millón", "millones", "milhão", "milhões", "mio", "mn"], 6
    ),
    **dict.fromkeys(["milliard", "milliards", "milliarde", "milliarden", "mrd", "bn"], 9),
}
# a billion is 10⁹ in English and 10¹² elsewhere, and a mil is 1000 only in Spanish and Portuguese
_DOUBTFUL_WORDS = frozenset(
    ["billion", "billions", "billionen", "billón", "billones", "trillion", "trillions", "mil"]
)
_NEGATIVE_WORDS = frozenset(["minus", "negative", "menos", "moins"])
_UNITS = frozenset(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
_TENS = frozenset(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
_BIG = frozenset(["hundred", "thousand", "million", "billion", "trillion"])
_NUMERALS = (
    _UNITS
    | _TENS
    | _BIG
    | frozenset(
        [
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a mark, or a number by its value in each convention; equal tokens have equal keys."""

    keys: tuple[str, str]
    values: tuple[Decimal, Decimal] | None = None

    @property
    def is_mark(self) -> bool:
        """Whether it is neither a word nor a number."""
        return self.values is None and not any(map(str.isalnum, self.keys[0]))

    @classmethod
    def text(cls, text: str) -> Token:
        """One that is only equal to itself."""
        return cls((text, text))

    @classmethod
    def number(cls, values: tuple[Decimal, Decimal]) -> Token:
        """One that is equal to every number of its value."""
        return cls((f"#{_canonical(values[0])}", f"#{_canonical(values[1])}"), values)


class Mentions:
    """A text, read once, that is asked for others.

    Args:
        text: read up to ``MOST_CHARACTERS``.
        ignore_case: compare words without regard to case (Unicode's full case folding).
    """

    def __init__(self, text: str, *, ignore_case: bool = True) -> None:
        self._ignore_case = ignore_case
        self._read = _joined(_tokens(text[:MOST_CHARACTERS], ignore_case))

    def __contains__(self, wanted: str) -> bool:
        parts = _joined(_tokens(wanted[:MOST_CHARACTERS], self._ignore_case))
        return any(part != _BETWEEN and part in whole for part, whole in zip(parts, self._read, strict=True))


def words(text: str) -> tuple[list[str], list[str]]:
    """The words and numbers of a text in each convention, without regard to case; marks are left out.

    Equal words are equal texts, and so are numbers of equal value.
    """
    found = [token for token in _tokens(text[:MOST_CHARACTERS], ignore_case=True) if not token.is_mark]
    return [token.keys[0] for token in found], [token.keys[1] for token in found]


def _joined(tokens: Sequence[Token]) -> tuple[str, str]:
    """The keys in each convention, each between separators, so that a part of them is a substring."""
    one, other = ("".join(f"{token.keys[at]}{_BETWEEN}" for token in tokens) for at in (0, 1))
    return _BETWEEN + one, _BETWEEN + other


def _tokens(text: str, ignore_case: bool) -> list[Token]:
    text = nfc(text).translate(_APOSTROPHES)
    plain = _numerals(_values(_plain_tokens(text)))
    if not ignore_case:
        return plain
    folded = []
    for token in plain:
        folded.append(token if token.values else Token.text(nfc(token.keys[0].casefold())))
    return folded


def _plain_tokens(text: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        if found["digits"] is not None:
            yield from _number_tokens(text, found)
        elif kind == "word" and "'" in found[0]:
            yield from map(Token.text, _apart(found[0]))
        elif kind == "phone":
            yield Token.text("".join(c for c in found[0] if c.isdecimal() or c == "+"))
        else:
            yield Token.text(found[0])


def _apart(word: str) -> Iterator[str]:
    """A word with apostrophes, cut where an apostrophe ends a word."""
    whole, *parts = word.split("'")
    for part in parts:
        if part.casefold() in _ENDINGS:
            yield whole
            whole = f"'{part}"
        elif whole.casefold() in _ELIDED:
            yield f"{whole}'"
            whole = part
        else:
            whole = f"{whole}'{part}"
    yield whole


def _number_tokens(text: str, found: regex.Match[str]) -> Iterator[Token]:
    """What stands at a place with digits: a number, with its currency or unit, or something else."""
    start, glued = found.start(), found["glued"] or ""
    literal = _ascii_digits("".join(found.group("digits", "power", "other")[k] or "" for k in range(3)))
    if found["currency"]:
        yield Token.text(found["currency"].strip())
    elif start > 1 and text[start - 1] in "-–_" and text[start - 2].isalpha():
        yield Token.text(f"-{literal}{glued}")  # COVID-19
        return
    is_multiple = glued in _MULTIPLES or (bool(found["currency"]) and glued == "m")
    is_unit = glued.isalpha() and glued.casefold() not in _ORDINALS and not _is_decade(literal, glued)
    values = None
    if not found["other"] and (not glued or is_multiple or is_unit):
        values = _readings(_ascii_digits(found["digits"]))
    if values is None:
        yield Token.text(f"{found['sign'] or ''}{literal}{glued}".replace(" ", ""))
        return
    exponent = _exponent(found["power"]) + (_MULTIPLES.get(glued, 6) if is_multiple else 0)
    sign = -1 if found["sign"] in ("-", "−") else 1
    yield Token.number(tuple(_scaled(value, sign, exponent) for value in values))  # type: ignore[arg-type]  # two
    if glued and not is_multiple:
        yield Token.text(glued)


def _is_decade(literal: str, glued: str) -> bool:
    return glued == "s" and len(literal) == 4 and literal.isdecimal()


def _ascii_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺−", "0123456789-+-")


def _exponent(power: str | None) -> int:
    if not power:
        return 0
    digits = regex.search(r"(?:[eE]|\^|\*\*|10(?=[⁺⁻⁰¹²³⁴-⁹]))(.+)", power)[1].translate(_SUPERSCRIPTS)
    return int(digits) if len(digits) < 6 else 10**6 * (-1 if digits[0] == "-" else 1)


def _scaled(value: Decimal, sign: int, exponent: int) -> Decimal:
    return _EXACT.scaleb(value.copy_sign(Decimal(sign)), max(-(10**4), min(exponent, 10**4)))


def _canonical(value: Decimal) -> str:
    """The same text for the same number: digits without zeros at their end, and an exponent."""
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    bare = text.rstrip("0")
    return f"{'-' if sign else ''}{bare}e{int(exponent) + len(text) - len(bare)}" if bare else "0"


# --------------------------------------------------------------------------- points and commas
def _readings(digits: str) -> tuple[Decimal, Decimal] | None:
    """The value in each convention; where only one can read it, that one's in both. None: it is no number."""
    if len(digits) > LONGEST_NUMBER:
        return None
    found = [_read(digits, decimal) for decimal in CONVENTIONS]
    first, second = found
    if first is None and second is None:
        return None
    return first if first is not None else second, second if second is not None else first  # type: ignore[return-value]


def _read(digits: str, decimal: Convention) -> Decimal | None:
    group = "," if decimal == "." else "."
    whole, mark, rest = digits.partition(decimal)
    if digits.startswith("."):  # .5
        return Decimal(f"0{digits}") if decimal == "." else None
    if mark and not rest.isdecimal():
        return None
    if whole.isdecimal():
        if len(whole) > 1 and whole[0] == "0":
            return None  # a code
        if mark and rest == "000" and len(whole) <= 3 and whole != "0":
            return None  # 12.000 groups
        return Decimal(f"{whole}.{rest}" if mark else whole)
    for separator in (group, "'", " ", "\u00a0", "\u2007", "\u2009", "\u202f"):
        parts = whole.split(separator)
        if len(parts) > 1 and _is_grouped(parts, separator):
            return Decimal(f"{''.join(parts)}.{rest or 0}")
    return None


def _is_grouped(parts: Sequence[str], separator: str) -> bool:
    """Thousands: 1,234,567; with commas also lakhs: 12,34,567."""
    first, *others = parts
    if not all(part.isdecimal() for part in parts) or first[0] == "0" or len(others[-1]) != 3:
        return False
    middle = {len(part) for part in others[:-1]}
    return (len(first) <= 3 and middle <= {3}) or (separator == "," and len(first) <= 2 and middle == {2})


# --------------------------------------------------------------------------- numbers beside words
def _values(tokens: Iterator[Token]) -> Iterator[Token]:
    """Numbers joined with what makes another number of them: a multiple behind, a negative word before."""
    before: list[Token] = []  # at most the two last ones, which may still be changed
    for token in tokens:
        word = token.keys[0].casefold()
        last = before[-1] if before else None
        if last is not None and last.values and word in _MULTIPLE_WORDS:
            shift = _MULTIPLE_WORDS[word]
            before[-1] = Token.number((_scaled_on(last.values[0], shift), _scaled_on(last.values[1], shift)))
            continue
        if last is not None and last.values and word in _DOUBTFUL_WORDS:
            before[-1] = Token.text(f"{last.keys[0]} {word}")
            continue
        is_negative = last is not None and last.keys[0].casefold() in _NEGATIVE_WORDS and token.values
        if is_negative and token.values and not (len(before) > 1 and before[-2].values):
            before[-1] = Token.number((-token.values[0], -token.values[1]))
            continue
        before.append(token)
        if len(before) > 2:
            yield before.pop(0)
    yield from before


def _scaled_on(value: Decimal, exponent: int) -> Decimal:
    return _EXACT.scaleb(value, exponent)


def _numerals(tokens: Iterator[Token]) -> list[Token]:
    """English numerals of several words as one token each: twenty-seven, five hundred and six."""
    found: list[Token] = []
    waiting = list(tokens)
    at = 0
    while at < len(waiting):
        words = [waiting[at].keys[0].casefold()]
        at += 1
        while words[-1] in _NUMERALS:
            step = _next_numeral(words[-1], [token.keys[0].casefold() for token in waiting[at : at + 2]])
            if not step:
                break
            words.append(waiting[at + step - 1].keys[0].casefold())
            at += step
        found.append(Token.text(" ".join(words)) if len(words) > 1 else waiting[at - 1])
    return found


def _next_numeral(last: str, ahead: Sequence[str]) -> int:
    """How many tokens on the numeral goes on; 0 where it ends."""
    following = next((word for word in ahead if word in _NUMERALS), "")
    skipped = ahead.index(following) if following else 0
    if not following or (skipped and ahead[0] not in ("-", "and")):
        return 0
    if ahead[0] == "and" and last not in _BIG:
        return 0
    goes_on = following in _BIG or (last in _TENS and following in _UNITS) or last in _BIG
    return skipped + 1 if goes_on else 0
