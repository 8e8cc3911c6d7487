"""A training file as a whole: its findings, its tokens, and whether a model can be trained on it.

Rows stream: of each there remains its number of tokens, and of findings the first thousand of each code.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from harness.data.convert import to_prompt_completion
from harness.data.findings import CODES, Finding, Severity
from harness.data.rows import line_of, nothing_to_learn
from harness.errors import DataError
from harness.records import Row

TokenCounter: TypeAlias = Callable[[Sequence[Row]], Sequence[int]]

MIN_ROWS = 10  # OpenAI's own minimum
FEW_ROWS = 50
KEPT_A_CODE = 1_000  # the rest is counted
CHUNK_ROWS = 1_024  # counted together
PERCENTILES = (5, 25, 50, 75, 95, 99)
BINS = 10


@dataclass(frozen=True, slots=True)
class Target:
    """The model that the rows are for. ``max_tokens`` is of one row; None where it is not known."""

    count: TokenCounter
    max_tokens: int | None = None
    completions: bool = False


@dataclass(frozen=True, slots=True)
class TokenStatistics:
    """Tokens a row, over ``n`` usable rows. ``histogram`` holds (from, to, rows); ``to`` is not included."""

    n: int
    total: int
    mean: float
    longest: int
    percentiles: Mapping[int, int]
    histogram: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, lengths: array[int]) -> TokenStatistics:
        """From the number of tokens of each row, as unsigned ints; at least one."""
        import numpy as np

        values = np.frombuffer(lengths, dtype=np.uint32)
        edges = np.unique(np.linspace(values.min(), values.max() + 1, BINS + 1).astype(int))
        counted = np.histogram(values, edges)[0].tolist()
        bounds = edges.tolist()
        return cls(
            n=len(values),
            total=int(values.sum(dtype=np.uint64)),
            mean=float(values.mean()),
            longest=int(values.max()),
            percentiles=dict(zip(PERCENTILES, map(int, np.percentile(values, PERCENTILES)), strict=True)),
            histogram=tuple(zip(bounds[:-1], bounds[1:], counted, strict=True)),
        )


@dataclass(slots=True)
class Validation:
    """The result of ``validate``, to which findings of the lint may be added."""

    rows: int = 0  # lines that hold something, usable or not
    usable: int = 0  # rows without an error
    counts: Counter[str] = field(default_factory=Counter)  # all findings by code
    tokens: TokenStatistics | None = None  # None where no row could be used
    _kept: list[Finding] = field(default_factory=list)

    def add(self, *findings: Finding) -> None:
        """Count findings, and keep those among the first of their code."""
        for finding in findings:
            self.counts[finding.code] += 1
            if self.counts[finding.code] <= KEPT_A_CODE:
                self._kept.append(finding)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The first ``KEPT_A_CODE`` of each code, in the order of lines."""
        return tuple(sorted(self._kept, key=lambda finding: (finding.line, finding.code)))

    @property
    def has_errors(self) -> bool:
        """Whether the file cannot be used as it is."""
        return any(CODES[code] is Severity.ERROR for code in self.counts)


def validate(scanned: Iterable[Row | Finding], target: Target) -> Validation:
    """Look at every row once. ``scanned`` is the result of ``scan_lines`` or ``scan_objects``."""
    found = Validation()
    lengths = array("I")
    last_line = 0
    items = iter(scanned)
    while chunk := list(islice(items, CHUNK_ROWS)):
        good: list[Row] = []
        for item in chunk:
            if isinstance(item, Finding):
                found.add(item)
                found.rows += item.severity is Severity.ERROR and item.code != "empty-file"
                last_line = max(last_line, item.line)
                continue
            found.rows, last_line = found.rows + 1, max(last_line, line_of(item))
            unfit = nothing_to_learn(item)
            if unfit is None and target.completions:
                try:
                    to_prompt_completion(item)
                except DataError as error:
                    unfit = Finding("wrong-format", line_of(item), error.problem, error.hint)
            if unfit:
                found.add(unfit)
            else:
                good.append(item)
        for row, tokens in zip(good, target.count(good), strict=True):
            lengths.append(tokens)
            if target.max_tokens is None or tokens <= target.max_tokens:
                found.usable += 1
                continue
            problem = f"{tokens:,} tokens, more than the {target.max_tokens:,} that the model trains on"
            hint = "shorten the row or split the conversation"
            found.add(Finding("over-context", line_of(row), problem, hint))
    few = f"{found.rows} rows; "
    if found.usable and found.rows < MIN_ROWS:
        few += f"services refuse files of fewer than {MIN_ROWS}"
        hint = "collect more rows; 50 are where tuning begins to show"
        found.add(Finding("too-few-rows", last_line, few, hint))
    elif found.usable and found.rows < FEW_ROWS:
        few += f"with fewer than {FEW_ROWS} a fine-tune seldom beats a prompt with examples"
        hint = "collect more rows, or compare with FewShot first"
        found.add(Finding("few-rows", last_line, few, hint))
    found.tokens = TokenStatistics.of(lengths) if lengths else None
    return found
