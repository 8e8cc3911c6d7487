"""The check that an answer makes the calls that its row's reference makes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from harness.fields import Span
from harness.records import Answer, Json, Kind, Row, Score
from harness.scoring.checks import NamedCheck, no_expectation
from harness.scoring.json_values import composed, same_json
from harness.scoring.text import short

SHOWN = 3  # calls in a reason
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    arguments: Mapping[str, Json] | str  # text: it is no JSON object

    def get(self, key: str) -> Json:
        """An argument, else ``_ABSENT``."""
        return self.arguments.get(key, _ABSENT) if isinstance(self.arguments, Mapping) else _ABSENT

    def equals(self, other: _Call) -> bool:
        return self.name == other.name and same_json(self.arguments, other.arguments)

    def __str__(self) -> str:
        if isinstance(self.arguments, str):
            return f"{self.name} with arguments that are no JSON object: {short(self.arguments, 60)}"
        given = ", ".join(f"{key}={_shown(value)}" for key, value in self.arguments.items())
        return f"{self.name}({short(given, 120)})"


Pair = tuple[_Call | None, _Call | None]  # what was expected and what was called


@dataclass(frozen=True)
class ToolCall(NamedCheck):
    """The answer calls what the row's reference calls; where that is a text, it calls nothing.

    Names and arguments are compared, arguments as JSON values are: 1 and 1.0 are one number, "1" is none, and
    the order of keys is free. Several calls are right in any order. A text where a call is expected is wrong,
    and so is a call where a text is; of the text itself other checks say what it is worth.

    Args:
        fields: the arguments that count. The score is then their share that is right, over all calls; those
            of a call that is missing, superfluous or of another function are all wrong. None: every
            argument, and the score is 1 or 0.
        ordered: several calls are right in the reference's order alone.
    """

    fields: Annotated[tuple[str, ...], Span(1)] | None = None
    ordered: bool = False

    @property
    def kind(self) -> Kind:
        """Right or wrong; a share where only some fields count."""
        return Kind.BINARY if self.fields is None else Kind.GRADED

    def _default_name(self) -> str:
        return "tool call" if self.fields is None else f"tool call: {', '.join(self.fields)}"

    def _score(self, row: Row, answer: Answer) -> Score:
        wanted = [
            _Call(call.name, _arguments(json.loads(call.arguments or "{}")))
            for call in row.messages[-1].tool_calls
        ]
        unknown = [] if self.fields is None or not wanted else _unknown(row, wanted, self.fields)
        if unknown:
            return no_expectation(row, f"argument {unknown[0]!r} in its tools")
        made = _made(answer)
        if not wanted or not made:
            return _none(answer, wanted, made)
        pairs = list(zip(wanted, made, strict=False)) if self.ordered else list(_nearest(wanted, made))
        paired: list[Pair] = [*pairs]
        paired += [(one, None) for one in wanted if not any(one is w for w, _ in pairs)]
        paired += [(None, one) for one in made if not any(one is m for _, m in pairs)]
        if self.fields is None:
            wrong = [
                pair for pair in paired if pair[0] is None or pair[1] is None or not pair[0].equals(pair[1])
            ]
            return Score(1.0) if not wrong else Score(0.0, _reasons(wrong))
        counts = [_counted(pair, self.fields) for pair in paired]
        wrong = [pair for pair, (right, n) in zip(paired, counts, strict=True) if right < n]
        value = sum(right for right, _ in counts) / sum(n for _, n in counts)
        return Score(value, _reasons(wrong, self.fields) if wrong else "")


def _made(answer: Answer) -> list[_Call]:
    """The calls of an answer; see `records.called`."""
    if answer.finish != "tool_calls":
        return []
    listed = json.loads(answer.text.strip().rpartition("\n")[2])
    return [
        _Call(str(one["name"]), _arguments(one["arguments"]))
        for one in (listed if isinstance(listed, list) else [])
    ]


def _arguments(given: Json) -> Mapping[str, Json] | str:
    value = composed(given)
    return value if isinstance(value, dict) else str(given)


def _none(answer: Answer, wanted: Sequence[_Call], made: Sequence[_Call]) -> Score:
    """Where one of both makes no call."""
    if not wanted and not made:
        return Score(1.0)
    if made:
        return Score(0.0, f"called {_listed(made)}, expected an answer in words")
    cut = f" (cut off at {answer.completion_tokens} tokens)" if answer.finish == "length" else ""
    return Score(0.0, f"no call, expected {_listed(wanted)}; said {short(answer.text, 60)!r}{cut}")


def _unknown(row: Row, wanted: Sequence[_Call], names: Sequence[str]) -> list[str]:
    """Names that are no argument of any tool of the row: a slip of the pen would score every call right."""
    known = {key for call in wanted if isinstance(call.arguments, Mapping) for key in call.arguments}
    for tool in row.tools:
        function = tool.get("function")
        parameters = function.get("parameters") if isinstance(function, Mapping) else None
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        known |= set(properties) if isinstance(properties, Mapping) else set()
    return [name for name in names if name not in known]


def _nearest(wanted: Sequence[_Call], made: Sequence[_Call]) -> Iterator[tuple[_Call, _Call]]:
    """Each expected call with one that was made: an equal one, else the most similar of its function's."""
    left, without = list(made), list[_Call]()
    for one in wanted:
        equal = next((other for other in left if one.equals(other)), None)
        if equal is None:
            without.append(one)
        else:
            left = [other for other in left if other is not equal]
            yield one, equal
    for one in sorted(without, key=lambda call: all(call.name != other.name for other in left)):
        if left:
            best = max(left, key=lambda other: (other.name == one.name, -len(list(_differing(one, other)))))
            left = [other for other in left if other is not best]
            yield one, best


def _differing(wanted: _Call, made: _Call) -> Iterator[str]:
    for key in dict.fromkeys([*_keys(wanted), *_keys(made)]):
        one, other = wanted.get(key), made.get(key)
        if (one is _ABSENT) is not (other is _ABSENT) or not (one is other or same_json(one, other)):
            yield key


def _keys(call: _Call | None) -> list[str]:
    return list(call.arguments) if call is not None and isinstance(call.arguments, Mapping) else []


def _counted(pair: Pair, names: Sequence[str]) -> tuple[int, int]:
    """How many of the arguments that count are right, and how many there are."""
    wanted, made = pair
    own = {name for name in names if name in _keys(wanted) or name in _keys(made)}
    if wanted is None or made is None or wanted.name != made.name or isinstance(made.arguments, str):
        return 0, max(1, len(own))
    return (len(own) - len(own.intersection(_differing(wanted, made))), len(own)) if own else (1, 1)


def _reasons(wrong: Sequence[Pair], names: Sequence[str] | None = None) -> str:
    told = [_reason(*pair, names) for pair in wrong[:SHOWN]]
    more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
    return "; ".join([*told, *more])


def _reason(wanted: _Call | None, made: _Call | None, names: Sequence[str] | None) -> str:
    if made is None:
        return f"did not call {wanted}"
    if wanted is None:
        return f"called {made}, which is not expected"
    if wanted.name != made.name or isinstance(made.arguments, str):
        return f"called {made}, expected {wanted}"
    keys = [key for key in _differing(wanted, made) if names is None or key in names]
    parts = [
        f"no {key}" if wanted.get(key) is _ABSENT else f"{key}={_shown(wanted.get(key))}" for key in keys
    ]
    return f"called {made}, expected {', '.join(parts)}"


def _listed(calls: Sequence[_Call]) -> str:
    more = f" and {len(calls) - SHOWN} more" if len(calls) > SHOWN else ""
    return ", ".join(map(str, calls[:SHOWN])) + more


def _shown(value: Json) -> str:
    shown = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return short(shown, 60)
