"""A hosted candidate before anything is spent: what is wrong, what it would take, and whether it is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from harness.candidates.foresee import CostEstimate, TrainingEstimate, foresee
from harness.candidates.prepare import (
    Lab,
    Prepared,
    asked_as_trained,
    prepare,
    require_beginnable,
    require_ready,
)
from harness.data.fingerprints import fingerprint
from harness.data.hosted import hosted_counter, hosted_model
from harness.data.rows import require_supervised
from harness.errors import DataError, HostedTrainingError, UsageError
from harness.models.progress import SilentBar
from harness.models.protocol import Model
from harness.models.remote import RemoteModel
from harness.records import Row
from harness.training.hosted.driver import drive
from harness.training.hosted.finding import find_job
from harness.training.hosted.kept import read_kept
from harness.training.hosted.lifetimes import lifetime, require_tunable
from harness.training.hosted.memory import Memory
from harness.training.hosted.money import is_paid, training_tokens
from harness.training.hosted.prepare import (
    HostedRows,
    Outside,
    answers_to,
    deployment_name,
    hosted_rows,
    outside_of,
)
from harness.training.hosted.spec import OpenAITuning


@require_ready.register
def _hosted_ready(candidate: OpenAITuning, lab: Lab, size: int | None, seed: int) -> None:
    """Settings, rows, the price of answers and the key, without a request."""
    lab.spending(candidate.base, tuned=True)
    require_hosted_ready(candidate, lab, size, seed)


def require_hosted_ready(candidate: OpenAITuning, lab: Lab, size: int | None, seed: int) -> HostedRows:
    """See that nothing here stands in the way of a job, without asking; rows in the store are ready.

    Raises:
        DataError: rows that the service would refuse.
        UsageError: settings that do not fit the provider.
        ModelError: there is no key. It is looked for last: a plan has none, and still checks the rows.
    """
    made = hosted_rows(candidate, lab, size, seed)
    if lab.adapters.find(made.artifact) is None:
        _require_rows(candidate, made)
    candidate.remote(candidate.base).require_ready()
    return made


def _require_rows(candidate: OpenAITuning, made: HostedRows) -> None:
    rows = made.rows
    require_supervised(rows.own)
    least = candidate.provider.minimum_rows
    if len(rows.own) + len(rows.replay) < least:
        raise DataError(
            candidate.train,
            f"{len(rows.own)} training rows; this service takes no fewer than {least}",
            f"ask for larger sizes (--sizes={least} or more), or add rows",
        )
    _require_lengths((*rows.own, *rows.replay, *rows.dev), candidate.base)


def _require_lengths(rows: Sequence[Row], base: str) -> None:
    known = hosted_model(base)
    if known is None:
        return
    for row, tokens in zip(rows, hosted_counter(known.encoding)(rows), strict=True):
        if tokens > known.training_context_tokens:
            raise DataError(
                row.where or row.id,
                f"{tokens:,} tokens, more than the {known.training_context_tokens:,} that {base} trains on",
                "shorten the row or split the conversation",
            )


# --------------------------------------------------------------------------- a job that is yet to begin
@require_beginnable.register
def _hosted_beginnable(candidate: OpenAITuning, lab: Lab, size: int | None, seed: int) -> None:
    made = hosted_rows(candidate, lab, size, seed)
    require_hosted_beginnable(candidate, made, lab, outside_of(lab))


def require_hosted_beginnable(candidate: OpenAITuning, made: HostedRows, lab: Lab, outside: Outside) -> None:
    """See that a job may begin, or need not: the store has its end, or the service has the job.

    The service is asked only where a new job would be refused.

    Raises:
        HostedTrainingError: the model can no longer be tuned, or the service could not be asked for the job.
        UsageError: there is a cap, and nothing bounds the job, or it has no price.
    """
    if lab.adapters.find(made.artifact) is not None:
        return
    try:
        _require_new_job(candidate, outside)
    except (HostedTrainingError, UsageError):
        memory = Memory(lab.adapters.folder(made.artifact))
        if not _is_at_service(candidate, made, memory, outside):
            raise


def _require_new_job(candidate: OpenAITuning, outside: Outside) -> None:
    require_tunable(lifetime(candidate.base, candidate.provider, None), outside.today())
    spending = outside.spending(candidate, "training")
    if spending is not None:
        is_paid(spending, candidate.base, bounded=candidate.epochs != "auto")


def _is_at_service(candidate: OpenAITuning, made: HostedRows, memory: Memory, outside: Outside) -> bool:
    with outside.service(candidate.remote(candidate.base).endpoint) as service:
        found, _ = drive(find_job(made.order, memory.read()), service, SilentBar(), outside.pacing)
    return found is not None


# --------------------------------------------------------------------------- foreseen
@foresee.register
def _foresee_hosted(candidate: OpenAITuning, lab: Lab, size: int | None, seed: int) -> CostEstimate:
    """What the job will be billed, and whom it makes. One that only the service knows counts as new."""
    made = hosted_rows(candidate, lab, size, seed)
    rows = (*made.rows.own, *made.rows.replay)
    if lab.adapters.find(made.artifact) is not None:
        kept = read_kept(lab.adapters.folder(made.artifact))
        remote = candidate.remote(answers_to(candidate, kept, size, seed))
        done = TrainingEstimate(made.artifact, len(rows), is_kept=True)
        return CostEstimate(prepare(candidate, lab, size, seed), done, remote)
    bill = training_tokens(candidate, made.order, rows)
    training = TrainingEstimate(
        artifact=made.artifact,
        rows=len(rows),
        is_kept=False,
        tokens=bill.expected,
        most_tokens=bill.most,
        problem=_closed(candidate, datetime.now(UTC).date()),
    )
    name = deployment_name(candidate, size, seed) if candidate.provider.must_deploy else None
    remote = candidate.remote(name or candidate.base)
    return CostEstimate(_yet_to_be_made(candidate, made, remote), training, remote)


def _closed(candidate: OpenAITuning, today: date) -> str:
    try:
        require_tunable(lifetime(candidate.base, candidate.provider, None), today)
    except HostedTrainingError as error:
        return error.problem
    return ""


def _yet_to_be_made(candidate: OpenAITuning, made: HostedRows, remote: RemoteModel) -> Prepared:
    """The candidate before its job: what makes its answers is not known, so none is kept under its name."""
    parts = {"yet to be made": made.artifact, "checkpoint": candidate.checkpoint, "asked": remote.identity()}
    return Prepared(
        model_name=candidate.base,
        model_digest="",
        identity=fingerprint(parts),
        numeric_config=remote.numeric_config,
        load=_not_made,
        ask=asked_as_trained,
        alone=True,
    )


def _not_made() -> Model:
    raise HostedTrainingError(
        "a model that is only foreseen cannot be loaded.", "prepare the candidate first."
    )
