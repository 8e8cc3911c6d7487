"""What the failures of a prompted side point to: counts, with n, and never a verdict. Pure.

docs/ladder.md has the sources. The bars in this module are this project's choice: no source gives them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.records import Kind, RunRecord, ScoreInfo, SuiteInfo, SuiteRow, Trial

FORM_CHECKS = ("JsonSchema", "Regex", "MaxTokens")
NEARLY_RIGHT, OFTEN_WRONG = 0.85, 0.70  # shares of answers that are right
MOST, LEAST_WRONG, LEAST_ROWS = 0.5, 5, 20  # share of the failures; failures; rows that are judged

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
_THOUSANDS = re.compile(r"(?<=\d)[,.](?=\d{3}(?:\D|$))")

Rung = Literal["retrieval", "a schema", "fine-tuning", "a better prompt or retrieval"]


@dataclass(frozen=True, slots=True)
class Pointer:
    """One rule whose evidence is there."""

    rung: Rung
    evidence: str  # the counts, in a sentence
    means: str  # what the rule says of them


# --------------------------------------------------------------------------- facts
class Told:
    """The words and numbers of texts that a model is given, and the words that stand in lower case."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.tokens: set[str] = set()
        self.lower: set[str] = set()
        for text in texts:
            self.add(text)

    def add(self, text: str, *, is_cased: bool = True) -> None:
        """Add a text. One that is not ``is_cased``, as questions are typed, tells no words from names."""
        found = set(_tokens(text))
        self.tokens.update(map(str.casefold, found))
        if is_cased:
            self.lower.update(filter(str.islower, found))

    def add_words(self, text: str) -> None:
        """Add the words that a text has in lower case; it is not given to the model."""
        self.lower.update(filter(str.islower, _tokens(text)))


def facts(text: str, lower: Collection[str]) -> tuple[str, ...]:
    """Numbers and names in ``text``, each once.

    A name is a word with a capital that is never in ``lower``, the words that stand somewhere in lower case.
    So a word that only begins a sentence is none, where others use it. Writing without capitals has no names;
    German nouns count where no text has them otherwise. A lone letter is none.
    """
    found = (
        token
        for token in _tokens(text)
        if token[0].isdigit() or (len(token) > 1 and token[0].isupper() and token.casefold() not in lower)
    )
    return tuple(dict.fromkeys(found))


def unseen_facts(reference: str, own: Iterable[str], told: Told) -> tuple[str, ...]:
    """Facts of a reference that stand neither in the row's ``own`` texts (its prompt) nor in ``told``."""
    given = Told(own).tokens
    return tuple(
        fact
        for fact in facts(reference, told.lower)
        if fact.casefold() not in given and fact.casefold() not in told.tokens
    )


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(_THOUSANDS.sub("", text))


# --------------------------------------------------------------------------- failures
@dataclass(frozen=True, slots=True)
class Failures:
    """Rows of one side that its checks call wrong. One that fails in form is not counted under content."""

    n: int  # rows that every check could judge
    form: tuple[SuiteRow, ...]
    content: tuple[SuiteRow, ...]
    right: tuple[SuiteRow, ...]

    @property
    def n_wrong(self) -> int:
        """In form or content."""
        return len(self.form) + len(self.content)


def failures(suite: SuiteInfo, trial: Trial) -> Failures | None:
    """The failures of one trial by its yes-or-no checks; judges count in none. None without such checks."""
    checks = [s for s in suite.scores if s.kind is Kind.BINARY and s.admission is None and not s.spec]
    checks = [s for s in checks if s.name in trial.scores]
    if not checks:
        return None
    rows = {row.id: row for row in suite.rows}
    form: list[SuiteRow] = []
    content: list[SuiteRow] = []
    right: list[SuiteRow] = []
    by_row = zip(*([one.value for one in trial.scores[info.name]] for info in checks), strict=True)
    for answer, values in zip(trial.answers, by_row, strict=True):
        row = rows.get(answer.row_id)
        if row is None or None in values:
            continue
        if 0 not in values:
            right.append(row)
            continue
        wrong = [info for info, value in zip(checks, values, strict=True) if value == 0]
        (form if any(map(is_of_form, wrong)) else content).append(row)
    return Failures(len(form) + len(content) + len(right), tuple(form), tuple(content), tuple(right))


def is_of_form(info: ScoreInfo) -> bool:
    """Whether a check reads how an answer is written: a schema, a pattern, a length."""
    return info.description.partition(":")[0] in FORM_CHECKS


# --------------------------------------------------------------------------- rules
def pointers(record: RunRecord) -> Iterator[tuple[str, Pointer]]:
    """What the failures of each baseline point to, with the suite and side that they are of."""
    baselines = dict.fromkeys(c.baseline for c in record.candidates if c.baseline)
    has_task = any(suite.prompt_digest is not None for suite in record.suites)
    for suite in record.suites:
        if has_task and suite.prompt_digest is None:
            continue  # watched beside the task
        for name in baselines:
            trial = next((t for t in record.trials if (t.suite, t.candidate) == (suite.name, name)), None)
            seen = None if trial is None or trial.training is not None else failures(suite, trial)
            if trial is not None and seen is not None and seen.n >= LEAST_ROWS:
                for pointer in _rules(seen, [*_schema_checks(suite)], trial):
                    yield f"{suite.name}, {trial.label}", pointer


def _rules(seen: Failures, schemas: Sequence[str], trial: Trial) -> Iterator[Pointer]:
    wrong, n_form, n_content = seen.n_wrong, len(seen.form), len(seen.content)
    if wrong < LEAST_WRONG:
        return
    split = f"{wrong:,} of {seen.n:,} answers are wrong: {n_form:,} in form, {n_content:,} only in content"
    of_form = n_form > MOST * wrong
    if of_form and schemas and not trial.bound_to:
        yield Pointer(
            "a schema", f"{split}.", f"schema= binds answers to what {schemas[0]} reads, untrained."
        )
    if of_form and len(seen.right) > NEARLY_RIGHT * seen.n:
        yield Pointer(
            "fine-tuning",
            f"{split}.",
            f"More than {NEARLY_RIGHT:.0%} are right and most failures are of form: training on examples of"
            " the form is likely to help.",
        )
    well_formed = n_content + len(seen.right)
    if well_formed >= LEAST_ROWS and len(seen.right) < OFTEN_WRONG * well_formed:
        yield Pointer(
            "a better prompt or retrieval",
            f"{len(seen.right):,} of {well_formed:,} answers without a fault of form are right.",
            f"Less than {OFTEN_WRONG:.0%} on content: what the prompt does not say, or the model does not"
            " know, comes first.",
        )
    yield from _facts_rule(seen)


def _facts_rule(seen: Failures) -> Iterator[Pointer]:
    known = [row for row in seen.content if row.unseen_facts is not None]
    lacking = [row for row in known if row.unseen_facts]
    if len(lacking) < LEAST_WRONG or len(lacking) <= MOST * len(known):
        return
    right = [row for row in seen.right if row.unseen_facts is not None]
    numbers = sum(all(fact[0].isdigit() for fact in row.unseen_facts or ()) for row in lacking)
    example = (lacking[0].unseen_facts or ("",))[0]
    yield Pointer(
        "retrieval",
        f"Of {len(known):,} answers with wrong content, {len(lacking):,} have a reference with a number or"
        f" name that no prompt, question or training row holds (such as {example[:40]}; in {numbers:,} only"
        f" numbers); of {len(right):,} right ones, {sum(bool(row.unseen_facts) for row in right):,}.",
        "What has to be looked up, a model that is given it can answer; numbers may have to be computed.",
    )


def _schema_checks(suite: SuiteInfo) -> Iterator[str]:
    return (info.name for info in suite.scores if info.description.startswith("JsonSchema:"))
