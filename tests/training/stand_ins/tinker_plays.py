"""A training at the scripted stand-in of Tinker, through faults and kills: there is no job, so plays differ.

The service is one process, and every life of the client another one, ended by ``os._exit``: nothing that a
killed process would not do is done.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from harness.candidates.base import Variant
from harness.candidates.lab import Lab
from harness.candidates.tinker_tuning import TinkerTuning
from harness.errors import HarnessError
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.models.protocol import Decoding, Prompt
from harness.models.source import BUILTIN
from harness.records import Message, Price
from harness.store.adapters import AdapterStore
from harness.testing.fake_tinker.faults import BACKGROUND, Fault, TinkerFaults
from harness.training.hosted.record import JobRecord
from harness.training.tinker.plan import TrainingPlan
from stand_ins.conformance import MOST_LIVES, TODAY, Outcome, write_rows

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Sent

SERVICE, BASE, KEY = "tinker", "Qwen/Qwen3-8B", "tml-a-key-that-is-secret"
USD_PER_MTOK = 10.0
SAVE_EVERY = 2
EARLY = 70  # requests of a training that nothing disturbs, and some more
KILL_POINTS = 60  # the first seeds kill at each of the first requests
#: what answers may leave out, by the SDK's own types; a session's marks are what is searched for
OPTIONAL = (
    *("size_bytes", "public", "corrupted", "last_checkpoint", "last_sampler_checkpoint", "lora_rank"),
    *("checkpoint_storage_bytes", "display_name", "status", "expires_at", "cursor"),
)
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class TinkerPlay:
    """What goes wrong: at requests of the service, counted over all lives, and in lives of the client."""

    faults: Mapping[int, Fault] = field(default_factory=dict)
    polls: int = 0  # "try again" before each result
    extra: bool = False  # fields that nobody documents
    omit: frozenset[str] = frozenset()
    page: int = 200  # of the search, whatever is asked for
    searches: bool = True
    kills: tuple[tuple[int, bool], ...] = ()  # of each life: the request, and whether it is sent before
    expires: frozenset[int] = frozenset()  # lives after which no saved state is there any more
    forgets: frozenset[int] = frozenset()  # lives after which another machine goes on
    ample: bool = False  # money for all that may be lost; else to the token what the training costs


def draw(seed: int) -> TinkerPlay:
    """The play of that seed."""
    random = Random(f"{SERVICE} {seed}")
    faults = {random.randint(1, EARLY): _fault(random) for _ in range(random.choice([0, 1, 2, 5]))}
    if random.random() < 0.15:  # the service is away, for longer than calls are repeated
        first, fault = random.randint(1, EARLY), _fault(random)
        faults |= dict.fromkeys(range(first, first + 14), fault)
    kills = [(random.randint(0, EARLY), random.random() < 0.5) for _ in range(random.choice([0, 0, 1, 2, 4]))]
    if seed < KILL_POINTS:
        kills.insert(0, (seed, random.random() < 0.5))
    searches = random.random() < 0.9
    return TinkerPlay(
        faults,
        polls=random.choice([0, 0, 1, 3]),
        extra=random.random() < 0.4,
        omit=frozenset(name for name in OPTIONAL if random.random() < random.choice([0, 0.3, 1])),
        page=random.choice([1, 2, 200]),
        searches=searches,
        kills=tuple(kills),
        expires=frozenset(k for k in range(4) if random.random() < 0.1),
        forgets=frozenset(k for k in range(6) if searches and random.random() < 0.3),
        ample=random.random() < 0.5,
    )


def _fault(random: Random) -> Fault:
    what = random.choice(["refused", "throttled", "failed", "drop", "garbage"])
    told = random.choice([{"detail": "no"}, {"detail": [{"loc": ["x"], "msg": "no"}]}, {"x": 1}, "no", None])
    if what == "refused":
        return random.choice([400, 401, 402, 403, 404, 409, 410, 413, 422]), told, None
    if what == "throttled":
        return 429, told, random.choice([None, 0, 1, 45])
    if what == "failed":
        return random.choice([408, 500, 502, 503, 504, 529]), told, random.choice([None, 2])
    if what == "drop":
        return random.choice(["drop before", "drop after"])
    return 200, random.choice([None, [], 7, "queued", {}]), None


# --------------------------------------------------------------------------- lived
def play(given: TinkerPlay, folder: Path) -> Outcome:
    """Live through a play in an empty folder."""
    write_rows(folder)
    out, machine, calm = Outcome(), 0, 0
    plan = _plan(folder)
    lost, forgiven, paid = _most_lost(plan), 0, 0
    with _service(given, folder / "service") as ask:
        url = ask("url")
        while out.lives < MOST_LIVES:
            kill = given.kills[out.lives] if out.lives < len(given.kills) else None
            begun = ask("requests")
            ended, traced, spent = _in_a_fork(
                partial(_live, given, url, kill, folder, f"store-{machine}", plan.tokens())
            )
            told = ask("told")
            out.lives, out.requests, out.billed = out.lives + 1, told["requests"], told["billed"]
            out.ended = ended
            out.tracebacks += traced
            cap = plan.tokens() * (10 if given.ample else 1)
            out.over_cap |= told["billed"] - paid > cap or (spent is not None and spent > cap)
            paid = told["billed"]
            life = out.lives - 1
            if ended == "answered":
                wrong = told["finals"].get(_model(folder, machine)) != len(plan.steps)
                out.tracebacks += ["another model answered"] if wrong else []
                break
            if life in given.expires:
                forgiven += ask("expire") and plan.tokens()
            machine += life in given.forgets
            if ended != "killed":
                out.errors.append(ended)
                calm += begun > max(given.faults, default=0)
            if calm > 2:
                break
        told = ask("told")
    out.paid_twice = told["billed"] > plan.tokens() + max(0, told["runs"] - 1) * lost + forgiven
    out.unusable = out.ended != "answered"
    return out


def _plan(folder: Path) -> TrainingPlan:
    candidate, lab = _candidate("http://127.0.0.1:1"), _lab(folder, "plan", Ledger(None))
    variant = Variant("t", candidate, None, 0)
    rows, _ = candidate._training(lab, variant)
    return candidate._plan(lab, rows, variant)


def _most_lost(plan: TrainingPlan) -> int:
    """The stated bound: the steps since a state and what was measured after them."""
    costs = [plan.step_tokens(s) + plan.dev_tokens * (s.number in plan.measured) for s in plan.steps]
    return max(sum(costs[k : k + SAVE_EVERY]) for k in range(len(costs))) + plan.dev_tokens


def _candidate(url: str) -> TinkerTuning:
    return TinkerTuning(
        base=BASE,
        tokenizer=BUILTIN,
        train="train.jsonl",
        dev="dev.jsonl",
        epochs=2,
        batch_rows=4,
        save_every=SAVE_EVERY,
        base_url=url,
    )


def _lab(folder: Path, store: str, ledger: Ledger) -> Lab:
    price = Price(BASE, 1e-9, 1e-9, USD_PER_MTOK, "the play", TODAY.isoformat())
    prices = {(BASE, tuned): price for tuned in (False, True)}
    money = Money(ledger, lambda: (prices, "economics.toml"))
    return Lab(folder, AdapterStore(folder / store), Silent(), money=money)


def _model(folder: Path, machine: int) -> str:
    found = (JobRecord.read(file.parent) for file in (folder / f"store-{machine}").rglob("hosted.json"))
    return next((record.model for record in found), "")


def _live(
    given: TinkerPlay,
    url: str,
    kill: tuple[int, bool] | None,
    folder: Path,
    store: str,
    tokens: int,
    out: Connection,
) -> None:
    """One life: ``out`` gets its end, what is no error that leads out, and the tokens that were settled."""
    os.environ.update(TINKER_API_KEY=KEY, TINKER_TELEMETRY="0")
    _hurry(kill)
    ledger = Ledger(tokens * (10 if given.ample else 1) * USD_PER_MTOK / 1e6 + 1e-9)
    candidate, lab = _candidate(url), _lab(folder, store, ledger)
    variant, ended, traced = Variant("tuned", candidate, None, 0), "answered", list[str]()
    try:
        candidate.preflight(lab, variant)
        prepared = candidate.prepare(lab, variant)
        candidate.notes(lab, variant)
        prompt = Prompt("row", (Message("user", "train 1?"),))
        (answer,) = prepared.load().answer([prompt], Decoding(), frozenset())
        ended = "answered" if answer.failure is None else f"unanswered: {answer.failure}"
    except Exception as error:  # noqa: BLE001 - judged below
        ended = f"{type(error).__name__}: {error}"
        if not isinstance(error, HarnessError):
            traced.append("".join(traceback.format_exception(error)[-8:]))
        elif "hint: " not in ended:
            traced.append(f"no mend: {ended}")
    if KEY in ended or any(KEY in f.read_text("utf-8", "replace") for f in folder.rglob("*.json")):
        traced.append(f"a key is shown: {ended.replace(KEY, 'KEY')}")
    if ledger.reserved_usd:
        traced.append(f"{ledger.reserved_usd} USD stay reserved")
    out.send((ended, traced, round(ledger.spent_usd * 1e6 / USD_PER_MTOK)))


def _hurry(kill: tuple[int, bool] | None) -> None:
    """Nobody waits between two calls, and the clock goes on as if they did; the n-th request kills."""
    import httpx

    now, sent = time.time, [0]
    slept: list[float] = [0.0]
    idle, send = asyncio.sleep, httpx.AsyncClient.send

    async def soon(delay: float, result: Any = None) -> Any:  # noqa: ANN401
        if sys._getframe(1).f_code.co_name.endswith("_loop"):  # heartbeats go on as ever
            return await idle(delay, result)
        slept[0] += delay
        return await idle(0.001 if delay else 0, result)

    def wait(seconds: float) -> None:
        slept[0] += seconds

    async def sending(self: httpx.AsyncClient, request: httpx.Request, **how: Any) -> httpx.Response:  # noqa: ANN401
        if request.url.path.endswith(BACKGROUND):
            return await send(self, request, **how)
        n, sent[0] = sent[0], sent[0] + 1
        if kill == (n, False):
            os._exit(9)
        try:
            return await send(self, request, **how)
        finally:
            if kill == (n, True):
                os._exit(9)

    asyncio.sleep = soon
    time.time = lambda: now() + slept[0]
    time.sleep = wait  # type: ignore[assignment]
    httpx.AsyncClient.send = sending  # type: ignore[method-assign]
    import anyio

    from harness.candidates import tinker_tuning
    from harness.training.tinker.loop import Surroundings

    anyio.sleep = soon
    setattr(tinker_tuning, "Surroundings", partial(Surroundings, sleep=wait))  # noqa: B010 - mypy takes it for a class


def _in_a_fork(do: Callable[[Connection], None]) -> tuple[str, list[str], int | None]:
    """What a process of its own sends; that it was killed, where it sent nothing."""
    ours, theirs = _FORK.Pipe(duplex=False)
    child = _FORK.Process(target=_ended_at_once, args=(do, theirs))
    child.start()
    theirs.close()
    try:
        told: tuple[str, list[str], int | None] = (
            ours.recv() if ours.poll(120) else ("hung", ["it hangs"], None)
        )
    except EOFError:
        told = ("killed", [], None)
    child.kill()
    child.join()
    if told[0] == "killed" and child.exitcode != 9:
        told = ("crashed", [f"exit status {child.exitcode}"], None)
    return told


def _ended_at_once(do: Callable[[Connection], None], out: Connection) -> None:
    do(out)
    os._exit(0)


# --------------------------------------------------------------------------- the service
@contextmanager
def _service(given: TinkerPlay, folder: Path) -> Iterator[Callable[[str], Any]]:
    """The stand-in in a process of its own; gives what asks it."""
    ours, theirs = _FORK.Pipe()
    child = _FORK.Process(target=_serve, args=(given, folder, theirs))
    child.start()

    def ask(what: str) -> Any:  # noqa: ANN401
        ours.send(what)
        return ours.recv()

    try:
        yield ask
    finally:
        child.kill()
        child.join()


def _serve(given: TinkerPlay, folder: Path, pipe: Connection) -> None:
    from harness.testing.fake_openai.serving import served
    from harness.testing.fake_tinker.app import FakeTinker
    from harness.testing.fake_tinker.records import Run, Saved
    from harness.testing.fake_tinker.scripted_backend import STATE, ScriptedTinker

    folder.mkdir()
    faults = TinkerFaults(at=given.faults, polls=given.polls, extra=given.extra)
    fake = FakeTinker(folder, ScriptedTinker(), lambda: [BASE], faults)
    service = fake._service

    def told() -> dict[str, Any]:
        finals = {
            one.id: json.loads((service.weights / one.folder / STATE).read_text())
            for one in service.all_saved()
            if one.kind == "sampler"
        }
        billed, runs = fake.billed_tokens["training"], len(service.store.newest_first(Run))
        return {"billed": billed, "requests": len(fake.requests), "runs": runs, "finals": finals}

    def expire() -> bool:
        states = [one for one in service.store.newest_first(Saved) if one.kind == "training"]
        for one in states:
            service.delete(one.id)
        return bool(states)

    with ExitStack() as stack:
        fake.url = stack.enter_context(served(_Shaped(fake.app, given), 0))
        answers: dict[str, Callable[[], Any]] = {
            "url": lambda: fake.url,
            "requests": lambda: len(fake.requests),
            "told": told,
            "expire": expire,
        }
        while True:
            pipe.send(answers[pipe.recv()]())


class _Shaped:
    """ASGI middleware: small pages of the search, or none, and answers without what is optional."""

    def __init__(self, app: ASGIApp, given: TinkerPlay) -> None:
        self._app, self._given = app, given

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import JSONResponse

        is_search = str(scope["path"]).endswith("/sessions/search")
        if is_search and not self._given.searches:
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
            return
        begun: list[Sent] = []

        async def limited() -> Sent:
            body, more = b"", True
            while more:
                part = await receive()
                body, more = body + part.get("body", b""), part.get("more_body", False)
            if is_search and body:
                body = json.dumps({**json.loads(body), "limit": self._given.page}).encode()
            return {"type": "http.request", "body": body}

        async def shaped(sent: Sent) -> None:
            if sent["type"] == "http.response.start":
                begun.append(sent)
                return
            start, body = begun.pop() if begun else None, sent.get("body", b"")
            if start is not None:
                try:
                    body = json.dumps(self._without(json.loads(body))).encode()
                except ValueError:  # protobuf, or nothing
                    pass
                else:
                    length = (b"content-length", str(len(body)).encode())
                    others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
                    start = {**start, "headers": [*others, length]}
                await send(start)
            await send({**sent, "body": body})

        await self._app(scope, limited if is_search else receive, shaped)

    def _without(self, body: Any) -> Any:  # noqa: ANN401
        if isinstance(body, list):
            return [self._without(each) for each in body]
        if not isinstance(body, dict):
            return body
        return {name: self._without(value) for name, value in body.items() if name not in self._given.omit}
