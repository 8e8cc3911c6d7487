"""Which scores have a price a point: by name, so that it never depends on the order in which tests run."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.errors import UnknownName, UsageError

KEY = "value_usd_per_point_per_day"

#: A score is known by its suite and its name.
ScoreOf: TypeAlias = tuple[str, str]

_BARE = re.compile(r"[A-Za-z0-9_-]+")  # what TOML takes as a key without quotes


@dataclass(frozen=True, slots=True)
class PointValues:
    """US dollars a point and day by score; ``unknown`` has one message for each name that no suite has."""

    usd: Mapping[ScoreOf, float]
    unknown: Mapping[str, str]


def named_scores(values: Mapping[str, float], scores: Mapping[str, Sequence[str]], where: str) -> PointValues:
    """The scores that are priced by name.

    Args:
        values: US dollars a point and day by the name of a score, or by ``suite/score``.
        scores: names of scores by suite.
        where: the file that ``values`` stand in, for messages.

    Raises:
        UsageError: a name that two suites have, or a score that is priced twice.
    """
    usd: dict[ScoreOf, float] = {}
    priced_as: dict[ScoreOf, str] = {}
    unknown: dict[str, str] = {}
    for name, value in values.items():
        found = [
            (suite, score)
            for suite, its_scores in scores.items()
            for score in its_scores
            if name in (score, f"{suite}/{score}")
        ]
        if not found:
            unknown[name] = f"{where}: {KEY}: {_unknown(name, scores)}"
            continue
        if len(found) > 1:
            ways = " or ".join(line_of(f"{suite}/{score}", value) for suite, score in sorted(found))
            raise UsageError(
                f"{where}: {KEY}: {name!r} is a score of {len(found)} suites.\n"
                f"  hint: say of which, or give each a line: {ways}"
            )
        if found[0] in usd:
            raise UsageError(
                f"{where}: {KEY}: {priced_as[found[0]]!r} and {name!r} price the same score; keep one of them"
            )
        usd[found[0]], priced_as[found[0]] = value, name
    return PointValues(usd, unknown)


def only_target(
    value: float, targets: Collection[ScoreOf], scores: Mapping[str, Sequence[str]], where: str
) -> dict[ScoreOf, float]:
    """The one score that targets compare, at a value that names none.

    Raises:
        UsageError: targets compare none or several; the message has the line to write instead.
    """
    if len(set(targets)) == 1:
        return dict.fromkeys(targets, value)
    listed = ", ".join(f"{suite}/{score}" for suite, score in sorted(targets))
    compared = f"targets compare {len(set(targets))}: {listed}" if targets else "no target was compared"
    suite, score = min(targets) if targets else next(((s, n) for s, its in scores.items() for n in its))
    is_shared = sum(score in its for its in scores.values()) > 1
    raise UsageError(
        f"{where}: {KEY} = {value:g} does not say of which score, and {compared}.\n"
        f"  hint: name the score whose points are worth that, such as:"
        f" {line_of(f'{suite}/{score}' if is_shared else score, value)}"
    )


def line_of(name: str, value: float) -> str:
    """The line of ``economics.toml`` that prices a point of a score."""
    key = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{KEY}.{key} = {value:g}"


def _unknown(name: str, scores: Mapping[str, Sequence[str]]) -> str:
    suite, slash, score = name.partition("/")
    if slash and suite in scores:
        return str(UnknownName(f"score of suite {suite}", score, scores[suite]))
    if slash:
        return str(UnknownName("suite", suite, scores))
    return str(UnknownName("score", name, {each for its in scores.values() for each in its}))
