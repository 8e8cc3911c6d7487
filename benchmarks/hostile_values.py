"""Answers and results of checks that nobody means well with; see ``benchmarks.hostile_answers``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random

import numpy as np
import pytest

from harness.records import Answer, Score

LONGEST = 1_000_000  # characters of an answer

TEXTS: tuple[str, ...] = (
    *("", " ", "\0", "\ud800", "yes \udfff no", "\ufeff", "\u202eseY", "\u2028", "\x1b[2J\x1b]0;title\x07"),
    *("\x9b31m",),
    *("<think>", "<think>never closed", "</think>yes", "<think></think>", "<|im_end|>", "<|endoftext|>"),
    *("[INST]",),
    *("<|channel|>analysis<|message|>", "</s>" * 200, "NaN", "Infinity", '{"intent": NaN}'),
    *('{"intent": -Infinity}',),
    *("9" * 5_000, '{"intent": ' + "9" * 5_000 + "}", "[" * 100_000, '{"a":' * 20_000, "[]", "null"),
    *('{"intent": null}',),
    *('{"intent": "refund", "intent": "other"}', '{"intent": {"$ref": "#"}}', "```json\n{}\n```", "```"),
    *("1e999",),
    '{"tool_calls": [{"type": "function", "function": {"name": "rm", "arguments": "{}"}}]}',
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</script><svg onload=alert(1)>", "]]>"),
    *("<!--",),
    *("{{ 7 * 7 }}{% raw %}", "{{ self.__init__.__globals__ }}", "{% endraw %}", "[red]bold[/] [/]", "[/]"),
    *("%s%n{}",),
    *("| a | b |\n|---|", "# heading\n```\n", "[x](javascript:alert(1))", "'; DROP TABLE answers; --"),
    *("=1+1", "a" * 30_000),
    *("e\u0301" * 2_000, "𝔰𝔱𝔞𝔯𝔱", "👩‍👩‍👧" * 50, "\r\n\r", "\t", "﷽", "Z̴͎̈a̶", "../../etc/passwd"),
    *('{"intent": "refund"}',),
)  # fmt: skip


class UnspeakableError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")


class OddText(str):
    """A text of a class of its own, as libraries give."""


class OddNumber:
    """It says that it is a number."""

    def __float__(self) -> float:
        raise OverflowError("no")


RAISED: tuple[BaseException, ...] = (
    *(ValueError("\x1b[31m\ud800"), RecursionError(), MemoryError(), SystemExit(3), UnspeakableError()),
    *(StopIteration(),),
    *(pytest.skip.Exception("later"), pytest.fail.Exception("no"), AssertionError(), OSError(5, "x" * 9_999)),
    *(ExceptionGroup("g", [ValueError()]), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "<script>")),
    *(KeyError("{{ 1 }}"),),
)  # fmt: skip
VALUES: tuple[object, ...] = (
    *(0, 1, True, False, 0.5, np.float32(0.5), np.float16(1), np.int64(1), np.bool_(True), np.array(0.5)),
    *(np.array([1.0]),),
    *(Decimal("0.5"), Decimal("sNaN"), Fraction(1, 3), Fraction(7, 2), "1", "", b"1", None, float("nan")),
    *(float("inf"),),
    *(-1, 2, -0.1, 1.0000001, 10**400, 1j, [], {}, {0.5}, object(), int, Score, OddNumber()),
    *(np.float64("nan"),),
)  # fmt: skip
REASONS: tuple[object, ...] = ("", None, 3, ["a"], b"x", "\ud83d", "x" * 100_000, *TEXTS[:40])


def hostile_text(rng: Random) -> str:
    """One of ``TEXTS``, two of them, characters drawn from all of Unicode, or a megabyte."""
    kind = rng.random()
    if kind < 0.55:
        return rng.choice(TEXTS)
    if kind < 0.75:
        return rng.choice(TEXTS) + rng.choice(("", " ", "\n")) + rng.choice(TEXTS)
    if kind < 0.995:
        return "".join(
            chr(rng.choice((rng.randrange(0x110000), rng.randrange(256)))) for _ in range(rng.randrange(60))
        )
    return (rng.choice(TEXTS) or "no ") * (LONGEST // max(1, len(rng.choice(TEXTS))) % 40_000)


def hostile_reply(rng: Random, row_id: str, longest: int = LONGEST) -> object:
    """What a model yields for a row: an ``Answer`` of hostile text, one of wrong types, or none at all."""
    text = hostile_text(rng)[:longest]
    answer = Answer(row_id, text, 3, 5, 1.0, rng.choice(("stop", "stop", "length")))
    if rng.random() < 0.7:
        return answer
    if rng.random() < 0.4:
        return rng.choice(
            (None, 7, b"yes", {"text": "yes"}, text, object(), [], (row_id, "yes"), ValueError(text))
        )
    odd: Mapping[str, Sequence[object]] = {
        "row_id": (None, 3, OddText(row_id), "nobody", "\ud800", b"x"),
        "text": (None, 3, b"yes", ["yes"], {"a": 1}, OddText("yes"), float("nan")),
        "prompt_tokens": (-3, None, 1.5, "3", float("nan"), 10**30, np.int64(3), True),
        "completion_tokens": (-1, None, float("inf"), "many", np.int32(2)),
        "latency_ms": (float("nan"), float("inf"), -1.0, None, "fast", np.float32(2), Decimal(1)),
        "finish": ("tool_calls", None, 3, "content_filter", "", []),
        "failure": ("", 3, text, b"no", ValueError("no")),
        "thought": (3, text, b"hm", ["hm"]),
        "thought_tokens": (-1, "3", float("nan"), 10**9),
        "logprob": (float("nan"), float("-inf"), "x", np.float32(-0.5)),
        "attempts": (0, -1, None), "repeat": (None, -1), "batched": ("yes", None, np.bool_(True)),
        "failure_kind": ("cut", 3, "refused"), "served_by": (None, 3, text),
        "cached_prompt_tokens": (None, -1, 1.5),
    }  # fmt: skip
    name = rng.choice(list(odd))
    return replace(answer, **{name: rng.choice(odd[name])})  # type: ignore[arg-type]  # that is the point


def hostile_result(rng: Random) -> object:
    """What a check returns for a row; an exception is to be raised."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(RAISED)
    if kind < 0.5:
        return rng.choice((*VALUES, *_tensors()))
    failure = rng.choice((None, None, None, "", 3, hostile_text(rng)))
    return Score(rng.choice(VALUES), rng.choice(REASONS), failure)  # type: ignore[arg-type]  # that is the point


def _tensors() -> tuple[object, ...]:
    """Numbers of torch, where it has been imported: a check that gives them has done so."""
    torch = sys.modules.get("torch")
    return (
        ()
        if torch is None
        else (torch.tensor(0.5, requires_grad=True), torch.tensor([1.0]), torch.tensor(True))
    )
