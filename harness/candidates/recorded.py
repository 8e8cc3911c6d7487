"""Answers that were given elsewhere or earlier, by a model that is gone, a service or people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from harness.atomic import what_is_at
from harness.candidates.base import (
    Candidate,
    CostEstimate,
    Given,
    Prepared,
    PricedModel,
    Variant,
    asked_as_trained,
)
from harness.candidates.lab import Lab
from harness.data.files import opened, read_text
from harness.data.fingerprints import bytes_digest
from harness.data.recorded import RecordedAnswer, match, parse_recorded, recorded_from, require_all
from harness.errors import DataError, ModelError, UnknownName, UsageError
from harness.fields import require_fields
from harness.models.protocol import Decoding, Model
from harness.models.remote import RemoteModel
from harness.records import Json, Provenance, Row, RunRecord, Trial
from harness.training.rows import TrainingData


@dataclass(frozen=True)
class Recorded:
    """Answers that are there already, as a candidate or as a baseline. Nobody is asked.

    Args:
        answers: a JSON Lines file, as ``harness capture`` or people write it; see docs/capture.md.
        run: in place of a file, the folder of an earlier run, or its ``run.json``.
        candidate: whose answers of that run, as ``name``, ``name@size`` or ``name@size seed 1``; None: of
            the only one.

    Raises:
        UsageError: neither a file nor a run, or both.
    """

    answers: str | None = None
    run: str | None = field(default=None, kw_only=True)
    candidate: str | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = "recorded"
    cost_rank: ClassVar[int] = 0
    decoding: ClassVar[Decoding] = Decoding()

    def __post_init__(self) -> None:
        require_fields(self)
        if (self.answers is None) == (self.run is None) or (self.answers and self.candidate):
            raise UsageError(
                'give a file, as in Recorded("answers.jsonl"); or a run and whose answers of it, as in'
                ' Recorded(run="reports/20261121-093000-qlora", candidate="qlora@400").'
            )

    @property
    def model_name(self) -> str:
        """See ``Candidate``: where they are, as the user wrote it."""
        return self.answers or self.run or ""

    def described(self) -> dict[str, Json]:
        """See ``Candidate``."""
        return {"kind": self.kind, "answers": self.answers, "run": self.run, "candidate": self.candidate}

    def own_baseline(self) -> Candidate:
        """They have no base.

        Raises:
            UsageError: always.
        """
        raise UsageError("recorded answers have no baseline of their own: name one with --baseline=NAME.")

    def data(self, lab: Lab) -> TrainingData | None:
        """See ``Candidate``: what shaped them is not known."""
        return None

    def endpoint(self) -> PricedModel | None:
        """See ``Candidate``: nobody is asked."""
        return None

    def redirected(self, url: str) -> Recorded:
        """See ``Candidate``: nothing is sent."""
        return self

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``: every row of every suite has its answer."""
        for _ in lab.unanswered(self, self.prepare(lab, variant)):
            pass

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``."""
        return CostEstimate(self.prepare(lab, variant))

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``."""
        recording = self._recording(lab)

        def load() -> Model:
            raise ModelError(f"{recording.where} holds answers, and no model that could be asked.")

        return Prepared(
            model_name=recording.models or "not named",
            model_digest=recording.digest,
            identity=recording.digest,
            numeric_config="as recorded",
            load=load,
            ask=asked_as_trained,
            given=recording.given,
            priced_as=recording.priced_as,
        )

    def notes(self, lab: Lab, variant: Variant) -> Sequence[str]:
        """See ``Candidate``: what nobody can check of them."""
        recording = self._recording(lab)
        unsure = sum(not one.asked and not one.question for one in recording.answers)
        notes = [f"{unsure:,} answers have no question beside them: they are found by id alone."] * (
            unsure > 0
        )
        if any(not one.asked and one.question for one in recording.answers):
            notes.append("questions are compared by their last user turn, as no more was recorded.")
        return [f"{recording.where}: {note}" for note in notes]

    def _recording(self, lab: Lab) -> Recording:
        if self.answers is not None:
            path = lab.root / self.answers
            return _read_file(path, lab.shown(self.answers), _version(path))
        path = lab.root / (self.run or "")
        path = path / "run.json" if what_is_at(path) == "folder" else path
        return _read_run(path, lab.relative(path.parent), self.candidate, _version(path))


@dataclass(frozen=True)
class Recording:
    """The answers of a file, or of one candidate in a run."""

    answers: tuple[RecordedAnswer, ...]
    where: str  # as people see it
    digest: str
    is_tuned: bool = False  # whether a fine-tune of the model that is named gave them

    @property
    def models(self) -> str:
        """Those that gave them, as they were asked and as the service named them; empty: not known."""
        return _models(self.answers)

    @property
    def priced_as(self) -> PricedModel | None:
        """The hosted model that was billed for them; None where there is none, or several."""
        asked = {(one.model, one.service) for one in self.answers}
        if len(asked) != 1 or not all(*asked):
            return None
        ((model, service),) = asked
        return PricedModel(RemoteModel(model, base_url=service), self.is_tuned or model.startswith("ft:"))

    def given(self, suite: str, rows: Sequence[Row]) -> Given:
        """See ``Prepared``.

        Raises:
            DataError: a row without an answer, or one that asked something else then.
        """
        matched = match(self.answers, suite, rows)
        require_all(matched, self.answers, suite, self.where)
        found = matched.found
        times = sorted(one.time for one in found.values() if one.time)
        provenance = Provenance(
            asked=0,
            kept=len(found),
            undated=len(found) - len(times),
            oldest=times[0] if times else None,
            newest=times[-1] if times else None,
            recorded=self.where,
            by=_models(found.values()),
            prompts=tuple(sorted({one.prompt for one in found.values() if one.prompt is not None})),
        )
        first = next(iter(found.values()))
        is_one = all(
            (one.asked_with, one.settings) == (first.asked_with, first.settings) for one in found.values()
        )
        return Given(
            answers={row.id: found[row.id].for_row(row) for row in rows},
            provenance=provenance,
            asked_with=first.asked_with if is_one else "",
            decoding=first.settings if is_one else {},
        )


def _models(answers: Iterable[RecordedAnswer]) -> str:
    names = {
        f"{one.model} (served as {one.served_by})" if one.served_by else one.model
        for one in answers
        if one.model
    }
    return ", ".join(sorted(names))


def _version(path: Path) -> tuple[int, int]:
    """Tells a file that was changed from the one that was read; a missing one is told when it is read."""
    if what_is_at(path) != "file":
        return 0, 0
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=8)
def _read_file(path: Path, where: str, version: tuple[int, int]) -> Recording:
    with opened(path) as file:
        content = file.read()
    return Recording(parse_recorded(content, where), where, bytes_digest(content))


@lru_cache(maxsize=8)
def _read_run(path: Path, where: str, candidate: str | None, version: tuple[int, int]) -> Recording:
    from harness.report.runjson import load_run

    text = read_text(path, ".json")
    record = load_run(text, str(path))
    if record.rehearsal:
        raise DataError(
            where, "is a rehearsal, whose answers are a stand-in's", "name a run that asked the service"
        )
    by_label = {_label(trial): trial for trial in record.trials}
    if candidate is None and len(by_label) == 1:
        (candidate,) = by_label
    if candidate not in by_label:
        hint = 'Write whose they are to be: Recorded(run=..., candidate="...").'
        raise UnknownName(f"candidate in {where}", candidate or "", by_label, hint)
    trials = [trial for trial in record.trials if _label(trial) == candidate]
    answers = tuple(one for trial in trials for one in _answers(record, trial, f"{where}, {candidate}"))
    digest = bytes_digest(f"{candidate}\n{text}".encode())
    return Recording(answers, f"{where}, {candidate}", digest, is_tuned=trials[0].size is not None)


def _label(trial: Trial) -> str:
    return trial.label + (f" seed {trial.seed}" if trial.seed else "")


def _answers(record: RunRecord, trial: Trial, where: str) -> Iterable[RecordedAnswer]:
    """A trial's answers, each with what the record says of it and its question."""
    suite = next(one for one in record.suites if one.name == trial.suite)
    info = next(one for one in record.candidates if one.name == trial.candidate)
    rows = {row.id: row for row in suite.rows}
    model, found = info.spec.get("model"), trial.provenance
    address = info.spec if not isinstance(model, Mapping) else model
    newest = record.created if found is None or found.asked else found.newest or ""
    oldest = newest if found is None or not found.kept else found.oldest or ""
    for number, answer in enumerate(trial.answers):
        row = rows.get(answer.row_id)
        yield recorded_from(
            answer,
            suite=trial.suite,
            question=None if row is None else row.question,
            asked=None if row is None else row.asked,
            asked_with=trial.asked_with,
            prompt=suite.prompt_digest or "" if "prompt" in trial.asked_with else None,
            settings=trial.decoding,
            model=info.model,
            service=str(address.get("base_url") or ""),
            time=newest if number else oldest,
            where=where,
        )
