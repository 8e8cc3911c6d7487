"""Characters that show nothing, taken out of what a judge reads.

A person who labels an answer does not see them; a model reads them. Whole sentences can be written in tag
characters or variation selectors, and U+202E shows a text backwards that a model reads forwards. What shapes
the signs beside it stays: joiners in emoji and in scripts that need them, one variation selector a sign, and
the tags of a flag's emoji.
"""

from __future__ import annotations

import re

# Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt)
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# one variation selector (Mongolian ones, too), then one joiner
_SHAPES = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f]?[\u200c\u200d]?")
_IDEOGRAPH = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_SHAPES_IDEOGRAPH = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]?")
_FLAG = "\U0001f3f4"  # of England, Scotland, Wales: it, letters or digits as tags, and a cancel tag (UTS 51)
_FLAG_TAGS = re.compile("[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")


def seen(text: str) -> str:
    """``text`` without characters that show nothing and shape nothing."""
    return _UNSEEN.sub(_kept, text)


def _kept(found: re.Match[str]) -> str:
    before = found.string[found.start() - 1 : found.start()]
    if before == _FLAG and _FLAG_TAGS.fullmatch(found[0]):
        return found[0]
    shaping = (_SHAPES_IDEOGRAPH if _IDEOGRAPH.match(before) else _SHAPES).match(found[0])
    if shaping is None or not before.strip():
        return ""
    # no Latin letter is joined; a digit may have the selector of a keycap
    return shaping[0] if not before.isascii() else shaping[0].rstrip("\u200c\u200d")
