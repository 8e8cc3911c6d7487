"""The training loop over Tinker's wire: begun once, and gone on with from the last saved state."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from harness.atomic import write_atomically
from harness.errors import HostedTrainingError, StoreError, TrainingError
from harness.models.progress import Bar, SilentBar
from harness.records import TrainingPoint
from harness.training.hosted.budget import JobBudget
from harness.training.hosted.record import state_file
from harness.training.tinker.plan import (
    BETAS,
    CLIP_NORM,
    EPSILON,
    DevLoss,
    Shifted,
    Step,
    TrainingPlan,
    shifted,
)
from harness.training.tinker.service import (
    CLOSING_S,
    FINAL,
    FINGERPRINT_KEY,
    STEP_KEY,
    SavedState,
    There,
    TinkerFault,
    TinkerService,
    look,
    told,
)

if TYPE_CHECKING:
    from tinker import APIFuture, RestClient, ServiceClient, TrainingClient
    from tinker.types import (
        Checkpoint,
        Datum,
        ForwardBackwardOutput,
        OptimStepResponse,
        SaveWeightsResponse,
    )

IN_FLIGHT = 2  # steps that are on their way at once: the next is there when one ends
# between two looks at a run of another machine, which is left to go on while it moves; and how many at most
OTHERS_S, OTHERS_LOOKS = 20.0, 90
ATTEMPTS = 3  # sessions in a row that get no further
REMEMBER_EVERY_S = 1.0
STATE_DAYS = 7  # what a state lives for where nobody is left to delete it
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Adapter:
    """The adapter's shape. Its scale is the service's (alpha 32)."""

    rank: int
    mlp: bool
    attention: bool
    unembedding: bool


@dataclass(frozen=True, slots=True)
class TinkerJob:
    """One training. ``fingerprint`` is its name, here and there."""

    fingerprint: str
    base: str
    plan: TrainingPlan
    adapter: Adapter
    seed: int
    save_every: int  # steps; so many are lost, and paid again, at most where a process is killed
    keep_days: int | None  # what the trained model is stored for; None: until somebody deletes it
    keep_states: bool = False  # whether states stay, the last among them, to be trained on


@dataclass(frozen=True)
class TinkerState:
    """What this machine knows of a training under way. All of it can be lost: the service has the rest."""

    sessions: tuple[str, ...] = ()  # ids, the last one last
    losses: Mapping[int, float] = field(default_factory=dict)  # of each step's own batch
    dev: Mapping[int, DevLoss] = field(default_factory=dict)  # after a step
    seconds: float = 0.0
    saved: Mapping[int, str] = field(default_factory=dict)  # paths of states, by their steps
    final: str = ""  # the trained model's path


def read_state(artifact: Path) -> TinkerState:
    """The state of a training; an empty one where none was begun.

    Raises:
        StoreError: it cannot be read.
    """
    from pydantic import TypeAdapter

    file = state_file(artifact)
    if not file.is_file():
        return TinkerState()
    try:
        return TypeAdapter(TinkerState).validate_python(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError) as error:  # pydantic's errors are ValueErrors
        raise StoreError(
            f"{file} cannot be read: delete it; the training is then looked for at the service."
        ) from error


def write_state(artifact: Path, state: TinkerState) -> None:
    """Replace the state; it survives a crash of the machine, too."""
    write_atomically(state_file(artifact), json.dumps(asdict(state)))


@dataclass(frozen=True)
class Surroundings:
    """What a training needs besides the service."""

    #: The money for so many tokens, yet to be set aside.
    money: Callable[[int], JobBudget] = lambda tokens: JobBudget()
    remember: Callable[[TinkerState], None] = lambda state: None
    bar: Bar = field(default_factory=SilentBar)
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Tuned:
    """The outcome."""

    model: str  # the path that it answers by
    run: str
    points: tuple[TrainingPoint, ...]
    seconds: float  # of all processes that took part, measurements included
    expires: str | None  # when the service deletes it, in ISO 8601
    notes: tuple[str, ...]


def tune(job: TinkerJob, service: TinkerService, around: Surroundings, state: TinkerState) -> Tuned:
    """The trained model of a job: found at the service, gone on with, or begun.

    No step is paid twice but those since the last saved state where a process was killed or a session ended,
    at most ``save_every``.

    Raises:
        HostedTrainingError: the service refused it, or cannot be reached.
        BudgetReached: what is left to do could pass the cap.
        TrainingError: the loss is no number.
    """
    training: _Training | None = None
    try:
        with service.looking() as rest:
            training = _Training(job, service, rest, around, state)
            return training.tuned()
    except TinkerFault as fault:
        raise told(fault, service, job.base, training.session if training else None) from None


@dataclass(slots=True)
class _OnItsWay:
    step: Step
    data: list[Shifted]
    passed: APIFuture[ForwardBackwardOutput]
    moved: APIFuture[OptimStepResponse]
    dev: APIFuture[ForwardBackwardOutput] | None
    saved: APIFuture[SaveWeightsResponse] | None


class _Training:
    """One training, over the sessions that it takes."""

    def __init__(
        self,
        job: TinkerJob,
        service: TinkerService,
        rest: RestClient,
        around: Surroundings,
        state: TinkerState,
    ) -> None:
        self._job, self._service, self._rest = job, service, rest
        self._around, self._state = around, state
        self._marks = {FINGERPRINT_KEY: job.fingerprint}
        self._gone: set[str] = set()  # states that are listed and cannot be had
        self.session: str | None = None
        self.saved = 0  # the furthest step that can be gone on from, as far as was seen
        self._remembered = 0.0  # when

    def tuned(self) -> Tuned:
        """See ``tune``; raises ``TinkerFault`` where it leads no further."""
        furthest, tries = 0, 0
        while True:
            try:
                return self._attempt()
            except TinkerFault as fault:
                tries = 1 if self.saved > furthest else tries + 1
                furthest = max(furthest, self.saved)
                if not fault.may_pass or tries >= ATTEMPTS:
                    raise
                self._around.bar.at(furthest, len(self._job.plan.steps), "goes on in a new session")
                self._around.sleep(2.0**tries)

    def _attempt(self) -> Tuned:
        """One session's worth."""
        plan = self._job.plan
        there = self._look()
        for _ in range(OTHERS_LOOKS):
            if there.final is not None or not there.others:
                break
            self._around.bar.at(0, len(plan.steps), "another machine may be at it: looking again")
            self._around.sleep(OTHERS_S)
            before, there = there, self._look()
            if there.others == before.others:
                break
        if not there.is_searched:  # such a server may not list anything either
            there = self._remembered_beside(there)
        if there.final is not None:
            return self._ended(there.final, there)
        for found in (*(state for state in there.states if state.path not in self._gone), None):
            done = 0 if found is None else found.step
            budget = self._around.money(plan.tokens(done) + self._unmeasured(done))
            budget.reserve()
            sent = _Sent()
            try:
                trained = self._session(found, sent)
            except _StateGone:
                self._gone.add(found.path if found else "")
                continue
            finally:
                if sent.tokens:
                    budget.settle(sent.tokens)
                else:
                    budget.leave()
            return self._ended(trained, self._remembered_beside(there))
        raise AssertionError("unreachable: the last attempt begins anew")

    def _remembered_beside(self, there: There) -> There:
        """What is there with what this machine knows of."""
        known = {SavedState(step, path) for step, path in self._state.saved.items()}
        states = tuple(sorted({*there.states, *known}, key=lambda state: -state.step))
        final = there.final
        if final is None and self._state.final:
            final = self._checkpoint(self._state.final)
        return replace(there, final=final, states=states)

    def _unmeasured(self, done: int) -> int:
        """Tokens of the measurement after a saved state, where its answer was lost: it is made again."""
        plan = self._job.plan
        return plan.dev_tokens if done in plan.measured and done not in self._state.dev else 0

    def _look(self) -> There:
        job = self._job
        return look(
            self._service,
            self._rest,
            job.fingerprint,
            job.base,
            job.adapter.rank,
            len(job.plan.steps),
            self._state.sessions,
        )

    # ----------------------------------------------------------------------- one session
    def _session(self, found: SavedState | None, sent: _Sent) -> Checkpoint:
        began, before = time.monotonic(), self._state.seconds
        service = self._service.begin(self._job.fingerprint)
        is_made = False
        try:
            client = self._opened(service, found)
            self.session = client.model_id.partition(":")[0]
            done = self.saved = 0 if found is None else found.step
            state = self._state  # steps behind the state are done again
            self._state = replace(
                state,
                sessions=(*state.sessions, self.session),
                losses={step: loss for step, loss in state.losses.items() if step <= done},
                dev={step: loss for step, loss in state.dev.items() if step <= done},
            )
            self._remember()

            def tick() -> None:
                self._state = replace(self._state, seconds=before + time.monotonic() - began)

            with self._service.calling():
                self._steps(client, done, sent, tick)
                trained = self._save(client)
            is_made = True
            return trained
        finally:
            with suppress(TinkerFault), self._service.calling():  # what it made stays
                service.close("success" if is_made else "interrupted").result(timeout=CLOSING_S)

    def _opened(self, service: ServiceClient, found: SavedState | None) -> TrainingClient:
        from tinker import BadRequestError

        try:
            with self._service.calling():
                if found is None:
                    return self._created(service)
                try:
                    return service.create_training_client_from_state_with_optimizer(
                        found.path, user_metadata=self._marks
                    ).result()
                except BadRequestError:  # a server of an earlier wire loads into what is there
                    client = self._created(service)
                    with warnings.catch_warnings(action="ignore", category=FutureWarning):
                        client.load_state_with_optimizer(found.path).result()
                    return client
        except TinkerFault as fault:
            if found is not None and fault.status in (400, 404, 410):
                raise _StateGone from None
            raise

    def _created(self, service: ServiceClient) -> TrainingClient:
        adapter = self._job.adapter
        return service.create_lora_training_client(
            self._job.base,
            rank=adapter.rank,
            seed=self._job.seed,
            train_mlp=adapter.mlp,
            train_attn=adapter.attention,
            train_unembed=adapter.unembedding,
            user_metadata=self._marks,
        ).result()

    def _steps(self, client: TrainingClient, done: int, sent: _Sent, tick: Callable[[], None]) -> None:
        from tinker.types import AdamParams

        plan, job = self._job.plan, self._job
        dev = [_datum(shifted(row)) for row in plan.dev]
        on_their_way: deque[_OnItsWay] = deque()
        if self._unmeasured(done):
            sent.tokens += plan.dev_tokens
            self._measured(done, client.forward(dev, "cross_entropy").result())
        for step in plan.steps[done:]:
            data = plan.data(step)
            sent.tokens += plan.step_tokens(step)
            passed = client.forward_backward([_datum(row) for row in data], "cross_entropy")
            moved = client.optim_step(
                AdamParams(
                    learning_rate=step.learning_rate,
                    beta1=BETAS[0],
                    beta2=BETAS[1],
                    eps=EPSILON,
                    weight_decay=plan.recipe.weight_decay,
                    grad_clip_norm=CLIP_NORM,
                )
            )
            measure = saved = None
            if dev and step.number in plan.measured:
                sent.tokens += plan.dev_tokens
                measure = client.forward(dev, "cross_entropy")
            is_last = step.number == len(plan.steps)
            if job.keep_states if is_last else step.number % job.save_every == 0:
                saved = client.save_state(
                    f"harness-step-{step.number:06d}",
                    ttl_seconds=None if job.keep_states else STATE_DAYS * DAY_S,
                    user_metadata={**self._marks, STEP_KEY: str(step.number)},
                )
            on_their_way.append(_OnItsWay(step, data, passed, moved, measure, saved))
            if len(on_their_way) >= IN_FLIGHT:
                self._ended_step(on_their_way.popleft(), tick)
        while on_their_way:
            self._ended_step(on_their_way.popleft(), tick)

    def _ended_step(self, one: _OnItsWay, tick: Callable[[], None]) -> None:
        number, total = one.step.number, len(self._job.plan.steps)
        logprobs = _logprobs(one.passed.result(), len(one.data))
        loss = -sum(
            weight * logprob
            for datum, row in zip(one.data, logprobs, strict=True)
            for weight, logprob in zip(datum.weights, row, strict=True)
            if weight
        )
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {number} of {total}.\n"
                f"  hint: lower learning_rate, which is {self._job.plan.recipe.learning_rate:g}."
            )
        one.moved.result()
        self._state = replace(self._state, losses={**self._state.losses, number: loss})
        if one.dev is not None:
            self._measured(number, one.dev.result())
        if one.saved is not None:
            path = one.saved.result().path
            self.saved = number
            self._state = replace(self._state, saved={**self._state.saved, number: path})
        tick()
        now = time.monotonic()
        if one.dev or one.saved or now - self._remembered >= REMEMBER_EVERY_S:
            self._remember()
        self._around.bar.at(number, total, f"loss {loss:.3f}")

    def _measured(self, step: int, output: ForwardBackwardOutput) -> None:
        plan = self._job.plan
        found = plan.dev_loss(_logprobs(output, len(plan.dev)))
        self._state = replace(self._state, dev={**self._state.dev, step: found})

    def _save(self, client: TrainingClient) -> Checkpoint:
        """The trained model, ready to be asked."""
        keep = self._job.keep_days
        saved = client.save_weights_for_sampler(
            FINAL, ttl_seconds=None if keep is None else keep * DAY_S, user_metadata=self._marks
        ).result()
        self._state = replace(self._state, final=saved.path)
        self._remember()
        with suppress(TinkerFault), self._service.calling():
            for listed in self._rest.list_checkpoints(client.model_id).result().checkpoints:
                if listed.tinker_path == saved.path:
                    return listed
        return self._checkpoint(saved.path)

    def _checkpoint(self, path: str) -> Checkpoint:
        """A trained model that the server does not list."""
        from tinker.types import Checkpoint

        keep, now = self._job.keep_days, datetime.now(UTC)
        return Checkpoint(
            checkpoint_id=path.partition("/")[2],
            checkpoint_type="sampler",
            time=now,
            tinker_path=path,
            expires_at=None if keep is None else now + timedelta(days=keep),
        )

    # ----------------------------------------------------------------------- its end
    def _ended(self, final: Checkpoint, there: There) -> Tuned:
        """What is told of a trained model; states that nobody needs are deleted."""
        notes: list[str] = []
        expires = final.expires_at
        size = "" if final.size_bytes is None else f" ({final.size_bytes / 1e6:,.1f} MB)"
        until = "until somebody deletes it" if expires is None else f"until {expires.date()}"
        notes.append(f"the service stores {final.tinker_path}{size} {until}.")
        if there.foreign:
            notes.append(
                f"{there.foreign} runs there carry this training's name and trained something else: none was"
                " used."
            )
        if not there.is_searched:
            notes.append(
                "this server cannot search its sessions: a training is only found again on the machine that"
                " began it."
            )
        kept = there.states if self._job.keep_states else self._deleted(there.states)
        if kept:
            listed = ", ".join(state.path for state in kept)
            why = "keep_states=True" if self._job.keep_states else "they could not be deleted"
            notes.append(f"the service also stores states to go on from ({why}): {listed}.")
        state = self._state
        return Tuned(
            model=final.tinker_path,
            run=final.tinker_path.removeprefix("tinker://").partition("/")[0],
            points=self._job.plan.points(state.losses, state.dev),
            seconds=state.seconds,
            expires=None if expires is None else expires.isoformat(),
            notes=tuple(notes),
        )

    def _deleted(self, states: tuple[SavedState, ...]) -> list[SavedState]:
        """Those that are still there."""
        left: list[SavedState] = []
        for state in states:
            try:
                with self._service.calling():
                    self._rest.delete_checkpoint_from_tinker_path(state.path).result()
            except TinkerFault as fault:
                left += [] if fault.status in (404, 410) else [state]
        return left

    def _remember(self) -> None:
        self._remembered = time.monotonic()
        self._around.remember(self._state)


@dataclass(slots=True)
class _Sent:
    tokens: int = 0  # that were submitted, and so may be billed


class _StateGone(Exception):  # noqa: N818 - never leaves this module
    """A state that was listed cannot be gone on from."""


def _datum(row: Shifted) -> Datum:
    from tinker.types import Datum, ModelInput, TensorData

    return Datum(
        model_input=ModelInput.from_ints(row.tokens),
        loss_fn_inputs={
            "target_tokens": TensorData(data=row.targets, dtype="int64", shape=[len(row.targets)]),
            "weights": TensorData(data=row.weights, dtype="float32", shape=[len(row.weights)]),
        },
    )


def _logprobs(output: ForwardBackwardOutput, rows: int) -> list[list[float]]:
    """The targets' log-probabilities, row by row."""
    found = [list(map(float, one["logprobs"].data)) for one in output.loss_fn_outputs if "logprobs" in one]
    if len(found) != rows:
        raise HostedTrainingError(
            f"the service gave log-probabilities for {len(found)} of {rows} rows.",
            "it does not speak Tinker's wire as the SDK has it: compare its version.",
        )
    return found
