"""From a hosted candidate to a model that can be asked, and what a run may say of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from harness.candidates.prepare import (
    Lab,
    Prepared,
    asked_as_trained,
    prepare,
    training_rows,
)
from harness.data.fingerprints import fingerprint
from harness.decision.plan import Purpose
from harness.errors import HostedTrainingError, UsageError
from harness.models.endpoint import Endpoint
from harness.models.pricing import Spending
from harness.records import Training
from harness.training.hosted.driver import Beside, Pacing, drive
from harness.training.hosted.kept import Kept, chosen_model, read_kept
from harness.training.hosted.lifetimes import ending_notes, lifetime
from harness.training.hosted.memory import Memory
from harness.training.hosted.money import Purse, training_tokens
from harness.training.hosted.order import Order, make_order
from harness.training.hosted.protocol import tune
from harness.training.hosted.record import training_record
from harness.training.hosted.service import OpenAIService, Service
from harness.training.hosted.spec import OpenAITuning
from harness.training.local.recipe import TrainingRows


@dataclass(frozen=True)
class Outside:
    """What a hosted training needs of the world.

    Args:
        service: the way to the service.
        today: the day.
        pacing: how to wait.
        spending: the tuned model's price and the budget that ``"training"`` or ``"answers"`` are paid from;
            None: nothing is counted.
    """

    service: Callable[[Endpoint], AbstractContextManager[Service]] = OpenAIService
    today: Callable[[], date] = field(default=lambda: datetime.now(UTC).date())
    pacing: Pacing = field(default_factory=Pacing)
    spending: Callable[[OpenAITuning, Purpose], Spending | None] = field(
        default=lambda candidate, purpose: None
    )


@dataclass(frozen=True, slots=True)
class HostedRows:
    """A candidate's rows at one size and seed, and the job that they make."""

    rows: TrainingRows
    order: Order
    artifact: str  # its name in the store: the job's fingerprint at this service


@prepare.register
def _hosted(candidate: OpenAITuning, lab: Lab, size: int | None, seed: int) -> Prepared:
    return prepare_hosted(candidate, lab, size, seed, outside_of(lab))


def outside_of(lab: Lab) -> Outside:
    """The world as it is, paid from the lab's money."""

    def spending(candidate: OpenAITuning, purpose: Purpose) -> Spending | None:
        return lab.spending(candidate.base, tuned=True, purpose=purpose)

    return Outside(spending=spending)


def prepare_hosted(
    candidate: OpenAITuning, lab: Lab, size: int | None, seed: int, outside: Outside
) -> Prepared:
    """The candidate, tuned at its service once for the same content.

    Raises:
        HostedTrainingError: what stands in the way there.
        DataError, UsageError, ModelError: what stands in the way here.
    """
    made = hosted_rows(candidate, lab, size, seed)

    def build(folder: Path) -> Training:
        return _tuned_at_service(candidate, made, lab, folder, outside)

    if made.artifact in lab.stopped:
        raise lab.stopped[made.artifact].with_traceback(None)
    try:
        training = lab.adapters.get_or_train(made.artifact, build)
    except HostedTrainingError as error:
        lab.stopped[made.artifact] = error
        raise
    kept = read_kept(lab.adapters.folder(made.artifact))
    remote = candidate.remote(answers_to(candidate, kept, size, seed))
    identity = {"trained": made.artifact, "model": chosen_model(candidate, kept), "asked": remote.identity()}
    return Prepared(
        model_name=candidate.base,
        model_digest=fingerprint({"hosted": remote.endpoint.url, "base": candidate.base}),
        identity=fingerprint(identity),
        numeric_config=remote.numeric_config,
        load=lambda: remote.open(outside.spending(candidate, "answers"), lab.progress, just_tuned=True),
        ask=asked_as_trained,
        training=replace(training, subset=made.rows.drawn),
        alone=True,
    )


def hosted_rows(candidate: OpenAITuning, lab: Lab, size: int | None, seed: int) -> HostedRows:
    """The rows of one training, and its job; nothing is sent.

    Raises:
        DataError: rows that cannot be read, or that the model's format cannot hold.
        UsageError: settings that do not fit the provider, or a size beyond the data.
    """
    profile = candidate.provider
    candidate.require_fit(profile)
    replay = lab.rows(candidate.replay) if candidate.replay else ()
    rows = training_rows(candidate, lab, size, seed, replay)
    order = make_order(candidate, (*rows.own, *rows.replay), rows.dev, seed, profile)
    url = candidate.remote(candidate.base).endpoint.url
    return HostedRows(rows, order, fingerprint({"hosted": url, "job": order.fingerprint}))


def hosted_notes(
    candidate: OpenAITuning,
    lab: Lab,
    size: int | None,
    seed: int,
    today: date,
    horizon_days: float,
) -> tuple[str, ...]:
    """Sentences for the report: earlier jobs that failed, and when the model stops answering; also of a job
    that has not ended well.

    Args:
        candidate: what was tuned, or will be.
        lab: its store says what the service said of the model's end.
        size, seed: of the training.
        today: the day.
        horizon_days: the time over which the project's economics add up a saving.
    """
    made = hosted_rows(candidate, lab, size, seed)
    done = lab.adapters.find(made.artifact) is not None
    folder = lab.adapters.folder(made.artifact)
    kept = read_kept(folder) if done else Memory(folder).read()
    found = lifetime(candidate.base, candidate.provider, kept.ends)
    return (*kept.notes, *ending_notes(found, today, horizon_days))


def job_flags(candidate: OpenAITuning) -> str:
    """What follows ``harness jobs …`` for it to speak to the candidate's service."""
    said = (
        ("--base-url", candidate.base_url),
        ("--api-key-env", candidate.api_key_env),
        ("--profile", candidate.profile),
    )
    return " ".join(f"{flag}={value}" for flag, value in said if value)


# --------------------------------------------------------------------------- tuned
def _tuned_at_service(
    candidate: OpenAITuning, made: HostedRows, lab: Lab, folder: Path, outside: Outside
) -> Training:
    endpoint = candidate.remote(candidate.base).endpoint
    memory = Memory(lab.adapters.folder(made.artifact))
    patience_s = candidate.patience_hours * 3600
    steps = tune(made.order, outside.today(), patience_s, memory.read(), lab.horizon_days())
    rows = len(made.rows.own)
    name = f"tuning {candidate.base} on {rows} rows at the service"
    bill = training_tokens(candidate, made.order, (*made.rows.own, *made.rows.replay))
    purse = Purse(outside.spending(candidate, "training"), bill, candidate.base)
    beside = Beside(purse, memory.write, lab.progress.say)
    with outside.service(endpoint) as service, lab.progress.task(name, unit="step") as bar:
        try:
            tuned = drive(steps, service, bar, outside.pacing, job_flags(candidate), beside)
        except BaseException:
            purse.leave()
            raise
    purse.settle(tuned.job.trained_tokens)
    Kept.of(tuned, endpoint.url).write(folder)
    return training_record(candidate, made.rows, made.artifact, tuned, endpoint.url)


def answers_to(candidate: OpenAITuning, kept: Kept, size: int | None, seed: int) -> str:
    """The name under which the tuned model is asked.

    Raises:
        HostedTrainingError: it must be deployed first.
        UsageError: the deployment's name cannot be made.
    """
    model = chosen_model(candidate, kept)
    if not candidate.provider.must_deploy:
        return model
    name = deployment_name(candidate, size, seed)
    if name is None:
        raise HostedTrainingError(
            f"the job {kept.job} made {model}; at this service it must be deployed before it answers.",
            f"deploy {model} there, give the candidate deployment='ITS NAME', and run again: nothing is tuned"
            " twice. With several sizes, name the deployments alike: 'support-{size}'.",
            job=kept.job,
        )
    return name


def deployment_name(candidate: OpenAITuning, size: int | None, seed: int) -> str | None:
    """The name that the user gives the deployment of one training; None where there is none.

    Raises:
        UsageError: something else than size and seed is to stand in it.
    """
    if candidate.deployment is None:
        return None
    size_or_all = "all" if size is None else str(size)
    try:
        return candidate.deployment.format(size=size_or_all, seed=seed)
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"OpenAITuning(deployment={candidate.deployment!r}): only {{size}} and {{seed}} can stand in it."
        ) from error
