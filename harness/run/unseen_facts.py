"""Which references hold numbers and names that no side of the run was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from harness.decision.advice import Told, unseen_facts
from harness.errors import HarnessError
from harness.records import Row, SuiteInfo
from harness.run.session import Session


def with_unseen_facts(run: Session, infos: Iterable[SuiteInfo]) -> tuple[SuiteInfo, ...]:
    """The suites, each row with the facts of its reference that no prompt, question or training row holds.

    Rows stay as they are where training rows can be read no more.
    """
    told = Told(())
    try:
        learnt = {id(row): row for row in _training_rows(run)}  # candidates share files
    except HarnessError:
        return tuple(infos)
    for row in learnt.values():
        for message in row.messages:
            told.add(message.content, is_cased=message.role != "user")
    for suite in run.suites.values():
        for row in suite.rows:
            told.add_words(row.reference)
    return tuple(_noted(run, info, told) for info in infos)


def _training_rows(run: Session) -> Iterator[Row]:
    for name in run.selection.chosen():
        arm = run.selection.sized(name)[-1]
        data = arm.candidate.data(run.lab_of(arm))
        yield from () if data is None else (*data.seen, *data.docs, *data.prompts)


def _noted(run: Session, info: SuiteInfo, told: Told) -> SuiteInfo:
    suite = run.suites[info.name]
    rows = []
    for row, shown in zip(suite.rows, info.rows, strict=True):
        own = [*(message.content for message in row.prompt), suite.prompt_of(row) or ""]
        rows.append(replace(shown, unseen_facts=unseen_facts(row.reference, own, told)))
    return replace(info, rows=tuple(rows))
