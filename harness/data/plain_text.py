"""Texts without what copies differ in: case, punctuation, spacing, markup, accents, look-alike letters."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

SHORT_WORDS = 5  # shorter texts repeat honestly ("refund???")

# Chinese and Japanese are written without spaces: there, one character counts as a word
CJK = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
# in "12 + 5" and "12 - 5" the sign is no punctuation; between words it is
_OPERATOR = r"(?:[=!<>]=|\*\*|&&|\|\||[-+*/=<>^÷×−])"
_SIGN = (
    rf"(?:(?<=[\d)])|(?<=[\d)]\s)|(?<=\b[a-z])|(?<=\b[a-z]\s)){_OPERATOR}(?=\s?[-\d(]|\s?[a-z]\b)"
    r"|(?<![\w)])[-−](?=\d)|(?<=\d)%|(?<=\d\s)%"
    r"|[$€£¥₹₽₩](?=\s?\d)|(?<=\d)[$€£¥₹₽₩]|(?<=\d\s)[$€£¥₹₽₩]"
    r"|(?<=\b[a-z])(?:\+\+|#)(?!\w)|[≤≥√∧∨¬∈∉∪∩⊂⊃±≈]"
)
_FACE = r"[:;]-?[()](?!\w)"
_PICTURE = "[\u2600-\u27bf\U0001f000-\U0001faff]"  # the word of many a short message
_TOKEN = re.compile(rf"{_WORD.pattern}|{_SIGN}")
_SHORT_TOKEN = re.compile(rf"{_TOKEN.pattern}|{_PICTURE}|{_FACE}")
_SPACING = re.compile(r"(?<!\d) | (?!\d)")  # spaces part numbers only

_APOSTROPHE = re.compile(r"(?<=\w)['’ʼ`](?=\w)")
_ACCENT = re.compile("[\u0300-\u036f]")  # of Latin, Greek and Cyrillic; other scripts' marks are letters
# joiners, soft hyphens, byte order marks, variation selectors, tags, and letters that show nothing
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e01ef]"
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z]{2,31}\d?);", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|b|i|u|s|p|br|hr|em|strong|small|big|span|div|font|center|code|pre|kbd|mark|sub|sup|del|ins|"
    r"ul|ol|li|dl|dt|dd|table|thead|tbody|tr|td|th|h[1-6]|img|html|body|head|blockquote|q|cite|label)"
    r"(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s<>\"']+))*\s*/?>",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{1,3}|`{1,3}|~~)(?=\S)(.+?)(?<=\S)\1(?!\w)")
# letters that look like Latin ones once the case is folded: the common part of Unicode TR39's confusables
_CYRILLIC = ("авекмнорстухіѕјһԁԛԝӏєү", "abekmhopctyxisjhdqwley")
_GREEK = ("αβεζηικμνορτυχ", "abeznikmvoptux")
_OTHERS = ("ɡɑıɩøłđħŧ×÷−–", "gaiioldht*/--")
_LOOK_ALIKE = str.maketrans(*("".join(part) for part in zip(_CYRILLIC, _GREEK, _OTHERS, strict=True)))


_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
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
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBERS = {word: value for value, word in enumerate(_UNITS)}
_NUMBERS |= {word: 10 * value for value, word in enumerate(_TENS, start=2)}


def plain(text: str) -> str:
    """``text`` in one form for all ways to write it, for comparison only; punctuation and spacing remain."""
    if "&" in text and _ENTITY.search(text):
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub(" ", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text).replace("≠", "!=")).casefold()
        text = unicodedata.normalize("NFC", _ACCENT.sub("", unicodedata.normalize("NFKD", text)))
        text = _INVISIBLE.sub("", text).translate(_LOOK_ALIKE)
    text = _APOSTROPHE.sub("", text.casefold())
    return _EMPHASIS.sub(r"\2", text) if any(mark in text for mark in "*_`~") else text


def plain_words(text: str) -> tuple[str, ...]:
    """The words of ``plain(text)``."""
    return tuple(_WORD.findall(plain(text)))


def words(text: str) -> tuple[str, ...]:
    """Lower-case words of ``text`` with their accents, without punctuation, whatever its normal form."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def same_key(text: str) -> str:
    """Equal for texts that are the same but for case, punctuation, spacing, markup and look-alike letters.

    Numbers to 99 are the same in words and in digits. Signs between numbers and single letters count
    ("12 + 7" is not "12 - 7"), as do currencies, "C++", pictures and faces in texts of under five words,
    and all characters of a text without words.
    """
    text = plain(text)
    found = _TOKEN.findall(text)
    if len(found) < SHORT_WORDS:
        found = _SHORT_TOKEN.findall(text)
    if not found:
        return "".join(text.split())
    if not _NUMBERS.keys().isdisjoint(found):
        found = _in_digits(found)
    return _SPACING.sub("", " ".join(found))


def _in_digits(words: Sequence[str]) -> list[str]:
    """English numbers to 99 in digits: ``thirty nine`` is 39."""
    found: list[str] = []
    before = 0  # the tens that the last word named
    for word in words:
        value = _NUMBERS.get(word)
        if value is not None and before and 0 < value < 10:
            found[-1] = str(before + value)
        else:
            found.append(word if value is None else str(value))
        before = value if value is not None and value >= 20 else 0
    return found
