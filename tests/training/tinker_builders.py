"""Tinker's wire in memory, with the members of the SDK's clients and its own types; killed at any call."""

# ruff: noqa: ANN401 - it stands in for clients whose futures may hold anything
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import tinker
from tinker import types

from harness.training.local.recipe import Recipe
from harness.training.local.tokens import Example
from harness.training.tinker.loop import Adapter, Surroundings, TinkerJob, TinkerState, Tuned, tune
from harness.training.tinker.plan import TrainingPlan
from harness.training.tinker.service import TinkerService

BASE = "Qwen/Qwen3-8B"
RECIPE = Recipe(
    shape={},
    epochs=2,
    learning_rate=1e-3,
    warmup=0.1,
    weight_decay=0.0,
    batch_rows=2,
    max_tokens=99,
    dev_evaluations=2,
)


def examples(n: int) -> list[Example]:
    """Rows of different lengths; the first three tokens are the prompt."""
    return [Example(f"row-{k}", [*range(5, 12 + k)], [-100] * 3 + [*range(8, 12 + k)]) for k in range(n)]


def plan_of(n: int = 8, dev: int = 3, recipe: Recipe = RECIPE) -> TrainingPlan:
    return TrainingPlan.make(examples(n), examples(dev), recipe, seed=1)


def job_of(name: str = "f" * 64, **changes: Any) -> TinkerJob:
    settings: dict[str, Any] = {
        "fingerprint": name,
        "base": BASE,
        "plan": plan_of(),
        "adapter": Adapter(8, mlp=True, attention=True, unembedding=False),
        "seed": 1,
        "save_every": 3,
        "keep_days": 30,
    }
    return TinkerJob(**{**settings, **changes})


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Run:
    """A training run; ``weights`` is the history of what moved them."""

    session: str
    base: str
    rank: int
    marks: dict[str, str]
    weights: tuple[object, ...] = ()
    gradient: tuple[object, ...] = ()
    asked: datetime = datetime(2026, 11, 29, tzinfo=UTC)
    saved: dict[str, tuple[types.Checkpoint, tuple[object, ...]]] = field(default_factory=dict)


class Wire:
    """The service. ``killed_at``: the call, counted from 0, before (or after) which the process ends."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, str]] = {}
        self.runs: dict[str, Run] = {}
        self.billed = 0
        self.calls: list[str] = []
        self.killed_at, self.after = -1, False
        self.refuse: Callable[[str], BaseException | None] = lambda call: None
        self.searches = True
        self.ignores_filter = False

    def call(self, name: str, do: Callable[[], Any]) -> Any:
        """One call of the SDK's, done as it is sent."""
        self.calls.append(name)
        is_now = len(self.calls) - 1 == self.killed_at
        if is_now and not self.after:
            raise Killed
        refusal = self.refuse(name)
        if refusal is not None:
            raise refusal
        made = do()
        if is_now:
            raise Killed
        return SimpleNamespace(result=lambda timeout=None: made)

    def begin(self, marks: dict[str, str]) -> Any:
        """A ``ServiceClient``."""
        session = f"session-{len(self.sessions)}"
        self.call("begin", lambda: self.sessions.setdefault(session, dict(marks)))
        return SimpleNamespace(
            create_lora_training_client=lambda base, rank, user_metadata, **kw: self.call(
                "create", lambda: self._run(Run(session, base, rank, dict(user_metadata)))
            ),
            create_training_client_from_state_with_optimizer=lambda path, user_metadata: self.call(
                "load", lambda: self._loaded(session, path, dict(user_metadata))
            ),
            close=lambda status: self.call("close", lambda: None),
        )

    def rest(self) -> Any:
        """A ``RestClient``."""
        return SimpleNamespace(
            search_sessions=lambda asked: self.call("search", lambda: self._search(asked)),
            get_session=lambda name: self.call("session", lambda: self._session(name)),
            get_training_run=lambda name: self.call("run", lambda: self._shown(name)),
            list_checkpoints=lambda name: self.call("checkpoints", lambda: self._listed(name)),
            delete_checkpoint_from_tinker_path=lambda path: self.call("delete", lambda: self._delete(path)),
        )

    # ----------------------------------------------------------------------- trainings
    def _run(self, run: Run) -> Any:
        name = f"{run.session}:train:{sum(other.session == run.session for other in self.runs.values())}"
        self.runs[name] = run

        def passed(data: list[types.Datum], *, backward: bool) -> Any:
            self.billed += sum(datum.model_input.length for datum in data)
            if backward:
                tokens = tuple(tuple(datum.model_input.to_ints()) for datum in data)
                weights = tuple(tuple(map(float, d.loss_fn_inputs["weights"].data)) for d in data)
                run.gradient = (tokens, weights)
            steps = len(run.weights)
            outputs = [
                {
                    "logprobs": types.TensorData(
                        data=[-1 / (1 + steps)] * datum.model_input.length, dtype="float32"
                    )
                }
                for datum in data
            ]
            return SimpleNamespace(loss_fn_outputs=outputs)

        def moved(params: types.AdamParams) -> None:
            run.weights = (*run.weights, (run.gradient, params.learning_rate))

        return SimpleNamespace(
            model_id=name,
            forward_backward=lambda data, loss: self.call("pass", lambda: passed(data, backward=True)),
            forward=lambda data, loss: self.call("measure", lambda: passed(data, backward=False)),
            optim_step=lambda params: self.call("step", lambda: moved(params)),
            save_state=lambda key, ttl_seconds, user_metadata: self.call(
                "save", lambda: self.save(name, "weights", key, ttl_seconds, user_metadata)
            ),
            save_weights_for_sampler=lambda key, ttl_seconds, user_metadata: self.call(
                "final", lambda: self.save(name, "sampler_weights", key, ttl_seconds, user_metadata)
            ),
        )

    def save(
        self, run: str, segment: str, key: str, ttl: int | None, marks: dict[str, str] | None
    ) -> SimpleNamespace:
        kind = cast("Any", {"weights": "training", "sampler_weights": "sampler"}[segment])
        now = datetime.now(UTC)
        checkpoint = types.Checkpoint(
            checkpoint_id=f"{segment}/{key}",
            checkpoint_type=kind,
            time=now,
            tinker_path=f"tinker://{run}/{segment}/{key}",
            user_metadata=marks,
            expires_at=None if ttl is None else now + timedelta(seconds=ttl),
        )
        self.runs[run].saved[checkpoint.checkpoint_id] = (checkpoint, self.runs[run].weights)
        return SimpleNamespace(path=checkpoint.tinker_path)

    def weights_at(self, path: str) -> tuple[object, ...]:
        run, _, key = path.removeprefix("tinker://").partition("/")
        if run not in self.runs or key not in self.runs[run].saved:
            raise refused(404, f"no checkpoint {path}")
        return self.runs[run].saved[key][1]

    def _loaded(self, session: str, path: str, marks: dict[str, str]) -> Any:
        weights = self.weights_at(path)
        old = self.runs[path.removeprefix("tinker://").partition("/")[0]]
        return self._run(Run(session, old.base, old.rank, marks, weights))

    # ----------------------------------------------------------------------- what is there
    def _search(self, asked: types.SessionSearchRequest) -> types.SessionSearchResponse:
        if not self.searches:
            raise refused(404, "Not Found")
        names = [
            name
            for name, marks in self.sessions.items()
            if self.ignores_filter or asked.user_metadata.items() <= marks.items()
        ]
        names = names[::-1]
        start = 0 if asked.cursor is None else names.index(asked.cursor.last_session_id) + 1
        page = names[start : start + 2]
        now = datetime.now(UTC)
        summaries = [
            types.SessionSummary(
                session_id=name,
                created_at=now,
                owner="me",
                project_id="p",
                checkpoints_count=0,
                user_metadata=self.sessions[name],
            )
            for name in page
        ]
        has_more = start + len(page) < len(names)
        cursor = (
            types.SessionSearchCursor(last_created_at=now, last_session_id=page[-1]) if has_more else None
        )
        return types.SessionSearchResponse(sessions=summaries, next_cursor=cursor)

    def _session(self, name: str) -> types.GetSessionResponse:
        if name not in self.sessions:
            raise refused(404, f"no session {name}")
        runs = [run for run, known in self.runs.items() if known.session == name]
        return types.GetSessionResponse(training_run_ids=runs, sampler_ids=[])

    def _shown(self, name: str) -> types.TrainingRun:
        run = self.runs[name]
        return types.TrainingRun(
            training_run_id=name,
            base_model=run.base,
            model_owner="me",
            is_lora=True,
            lora_rank=run.rank,
            last_request_time=run.asked,
            user_metadata=run.marks,
        )

    def _listed(self, name: str) -> types.CheckpointsListResponse:
        return types.CheckpointsListResponse(checkpoints=[one for one, _ in self.runs[name].saved.values()])

    def _delete(self, path: str) -> None:
        self.weights_at(path)
        run, _, key = path.removeprefix("tinker://").partition("/")
        del self.runs[run].saved[key]

    def stored(self) -> list[str]:
        return [one.tinker_path for run in self.runs.values() for one, _ in run.saved.values()]


class WiredService(TinkerService):
    """The service behind a ``Wire``."""

    wire: Wire

    def begin(self, fingerprint: str) -> Any:
        with self.calling():
            return self.wire.begin({"harness_fingerprint": fingerprint})

    @contextmanager
    def looking(self) -> Iterator[Any]:
        yield self.wire.rest()


def service_of(wire: Wire) -> WiredService:
    service = WiredService("http://127.0.0.1:1")
    object.__setattr__(service, "wire", wire)
    return service


@dataclass
class Machine:
    """One machine's memory, and its trainings of one job."""

    wire: Wire
    state: TinkerState = field(default_factory=TinkerState)

    def train(self, job: TinkerJob, **around: Any) -> Tuned:
        def remember(state: TinkerState) -> None:
            self.state = state

        surroundings = Surroundings(**{"remember": remember, "sleep": lambda seconds: None, **around})
        return tune(job, service_of(self.wire), surroundings, self.state)


def refused(status: int, said: str) -> tinker.APIStatusError:
    """What the SDK raises."""
    request = httpx.Request("POST", "http://127.0.0.1:1/api/v1/x")
    response = httpx.Response(status, request=request, json={"detail": said})
    return tinker.APIStatusError(said, response=response, body={"detail": said})
