"""One candidate's whole way at a stand-in, through faults and kills, and what must hold whatever happened.

``draw`` makes a scenario of a seed and of what is recorded of a service
(its words, the fields that may be left out); ``play`` lives through it: a process that is killed, or ends in
an error, is followed by the next, which does what the error asks.
"""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from harness.candidates.base import Candidate, Variant
from harness.candidates.lab import Lab
from harness.decision.prices import PriceKey
from harness.errors import BudgetReached, HarnessError
from harness.models.ledger import Ledger, Money
from harness.models.progress import Silent
from harness.records import Json, Price
from harness.store.adapters import AdapterStore
from harness.training.hosted.services import services
from stand_ins import Fault, Scenario, Stand, Unanswered

#: services that have a stand-in beside this file: one of a service's own needs no line here
BACKENDS = tuple(name for name in services() if (Path(__file__).parent / f"{name}.py").exists())
TODAY = date(2026, 11, 29)
ROWS, DEV_ROWS = 12, 3
USD_PER_MTOK = 10.0
AMPLE_USD, TIGHT_USD = 10.0, 1e-6
MOST_LIVES = 30
KILL_POINTS = 30  # the first seeds kill at each of the first requests
EARLY = 45  # requests: what goes wrong does so among the first
_LOST = (Fault(after=True), Fault(503, after=True), Fault(200, "<html>", after=True))
_GARBAGE = ("<html><body>bad gateway</body></html>", "", '{"id": "x", "sta', "null", "[]", "7", '"queued"')
#: undocumented, so that a new field or word breaks nothing
_EXTRA: Mapping[str, Json] = {
    "x_new": {"a": [1, None, {"b": "c"}]},
    "usage_metrics": None,
    "warnings": ["this field is new"],
    "region": "eu-north-1",
}


def backend(name: str) -> type[Stand]:
    """The stand-in of a service."""
    kinds = vars(import_module(f"stand_ins.{name}")).values()
    found = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Stand))
    return next(kind for kind in found if vars(kind).get("service") == name)


class Killed(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Play:
    """A scenario, the requests before or after which the process is killed, and its cap on spending."""

    scenario: Scenario
    kills: frozenset[tuple[int, bool]] = frozenset()  # number of the request; whether after it
    max_usd: float = AMPLE_USD
    forgets: bool = False  # the store is deleted wherever a process ends


@dataclass
class Outcome:
    """How a play ended."""

    lives: int = 0
    ended: str = ""  # "answered", or the last error
    errors: list[str] = field(default_factory=list)  # of every life that ended with one
    billed: int = 0
    requests: int = 0
    unusable: bool = False  # a job has succeeded, and nothing that was said led to an answer by its model
    paid_twice: bool = False
    over_cap: bool = False
    astray: bool = False  # something was asked at an address that nobody had configured
    tracebacks: list[str] = field(default_factory=list)  # what is no error of the harness's, or has no mend

    @property
    def is_well(self) -> bool:
        """Whether everything held."""
        return not (self.unusable or self.paid_twice or self.over_cap or self.astray or self.tracebacks)


# --------------------------------------------------------------------------- drawn
def draw(kind: type[Stand], seed: int) -> Play:
    """The play of that seed, from what is recorded of the service."""
    random = Random(f"{kind.service} {seed}")
    service = services()[kind.service]
    words = service.statuses
    life: list[str] = []
    secret = next(iter(kind.keys.values()))
    ends, optional = kind.success, set[str]()
    if words is not None:
        life = random.choices(words.under_way, k=random.randint(0, 5))
        if random.random() < 0.1:
            life.append("a_word_of_next_year")
        if random.random() < 0.25:
            ends = random.choice([*words.failed, *words.cancelled, *words.paused])
    for shape in service.shapes.values():
        optional |= {name for name, told in shape.items() if told.endswith("?")}
    optional -= kind.essential
    scenario = Scenario(
        seed=seed,
        statuses=tuple(life),
        ends=ends,
        failure=random.choice(
            ["the machine failed", "line 3 has no assistant message", "", "quota exceeded"]
        ),
        omit=frozenset(name for name in sorted(optional) if random.random() < random.choice([0, 0.3, 1])),
        extra=dict(random.sample(sorted(_EXTRA.items()), random.randint(0, 3))),
        faults={random.randrange(EARLY): _fault(random, secret) for _ in range(random.randint(0, 5))},
        page=random.choice([2, 100, 100]),
        renamed=random.random() < 0.5,
        lag=random.choice([0, 0, 1]),
        lost=random.choice([None, None, *_LOST]),
        late=random.choice([0, 0, 0, 1, 3]),
    )
    if random.random() < 0.15:  # the service is away, for longer than calls are repeated
        first, fault = random.randrange(EARLY), _fault(random, secret)
        scenario = replace(
            scenario, faults={**scenario.faults, **dict.fromkeys(range(first, first + 12), fault)}
        )
    kills = {(random.randrange(EARLY), random.random() < 0.5) for _ in range(random.choice([0, 0, 1, 2, 4]))}
    if seed < KILL_POINTS:
        kills.add((seed, random.random() < 0.5))
    tight = random.choice([TIGHT_USD, TIGHT_USD if kind.asks_usd is None else 0.99 * kind.asks_usd])
    given = Play(scenario, frozenset(kills), tight if random.random() < 0.12 else AMPLE_USD)
    if random.random() < 0.1:  # what is not listed is then known to nobody
        given = replace(given, scenario=replace(scenario, omit=frozenset()), forgets=True)
    return given


def _fault(random: Random, secret: str) -> Fault:
    what = random.choice(["refused", "throttled", "failed", "broken", "garbage", "moved"])
    if what == "moved":
        return Fault(
            random.choice([301, 302, 303, 307, 308]), "", to="elsewhere", after=random.random() < 0.3
        )
    if what == "refused":
        status = random.choice([400, 401, 403, 404, 409, 422])
        code = random.choice(["null", '"invalid_request"', '"not_found"', "17"])
        body = random.choice(
            [
                f'{{"error": {{"message": "no", "code": {code}}}}}',
                f'{{"error": {{"message": "Incorrect API key: {secret}", "code": {code}}}}}',
                '{"detail": [{"loc": ["body", "x"], "msg": "extra fields", "type": "value_error"}]}',
                '{"message": "no", "type": "invalid"}',
                *_GARBAGE,
            ]
        )
        return Fault(status, body)
    if what == "throttled":
        return Fault(429, random.choice([Fault.body, *_GARBAGE]), random.choice([None, 0, 1, 45, 3000]))
    after = random.random() < 0.5
    if what == "failed":
        status = random.choice([408, 425, 500, 502, 503, 504, 529])
        after = after and status != 425
        return Fault(status, random.choice([Fault.body, *_GARBAGE]), random.choice([None, None, 2]), after)
    return Fault(after=after) if what == "broken" else Fault(200, random.choice(_GARBAGE), after=after)


# --------------------------------------------------------------------------- lived
def write_rows(folder: Path) -> None:
    """Training and development rows, as every play uses them."""
    for name, n in (("train", ROWS), ("dev", DEV_ROWS)):
        turns = [
            [{"role": "user", "content": f"{name} {k}?"}, {"role": "assistant", "content": f"{k}."}]
            for k in range(n)
        ]
        lines = [json.dumps({"messages": each}) for each in turns]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def play(kind: type[Stand], given: Play, folder: Path) -> Outcome:
    """Live through a play in an empty folder that has the rows."""
    out, calm = Outcome(), 0
    store = folder / "store"
    with kind(given.scenario) as stand, _killing(given.kills) as fired:
        while out.lives < MOST_LIVES:
            out.lives += 1
            if given.forgets:
                shutil.rmtree(store, ignore_errors=True)
            ledger = Ledger(given.max_usd)
            candidate = stand.candidate("train.jsonl", "dev.jsonl")
            base = candidate.model_name
            lab = Lab(
                folder,
                AdapterStore(store),
                Silent(),
                money=Money(ledger, partial(_prices, base)),
                today=lambda: TODAY,
            )
            before, killed = len(stand.requests), len(fired)
            try:
                _live(stand, candidate, lab)
                out.ended = "answered"
            except BaseException as error:
                if len(fired) > killed:  # whatever was made of it on the way
                    out.ended = "killed"
                elif not isinstance(error, Exception):
                    raise
                else:
                    out.ended = f"{type(error).__name__}: {error}"
                    out.errors.append(out.ended)
                    _judge(error, stand, out)
            out.over_cap |= ledger.spent_usd > given.max_usd
            if out.ended == "killed":
                continue
            # once nothing is to go wrong any more, the second word is the last
            calm += before > max([*given.scenario.faults, *(n for n, _ in given.kills), 0])
            if out.ended == "answered" or calm > 1 or len(stand.requests) == before:
                break
            stand.user_acts()
        out.billed, out.requests = stand.billed, len(stand.requests)
        out.astray = bool(stand.astray)
        out.tracebacks += _shown_in(store, stand)
        if out.lives == 1 and out.ended == "answered":  # what was asked for it counts
            out.over_cap |= ledger.spent_usd < (stand.asks_usd or 0.0)
        out.tracebacks += [f"the stand-in: {error!r}" for error in stand.server.broken]
    words = services()[kind.service].statuses
    if words is not None and given.scenario.ends in words.all and "no news of the tuning job" in out.ended:
        out.tracebacks.append(f"{given.scenario.ends} is not taken for an end")
    is_failed = words is not None and given.scenario.ends in (*words.failed, *words.cancelled)
    out.paid_twice = out.billed > 1 and not is_failed
    is_capped = given.max_usd < AMPLE_USD
    out.over_cap |= is_capped and out.billed > 0
    succeeds = given.scenario.ends in ("", kind.success)
    out.unusable = succeeds and not is_capped and out.ended != "answered"
    return out


def _live(stand: Stand, candidate: Candidate, lab: Lab) -> None:
    variant = Variant("tuned", candidate)
    candidate.preflight(lab, variant)
    stand.proves(candidate.prepare(lab, variant))


def _judge(error: Exception, stand: Stand, out: Outcome) -> None:
    """Note what is no error that leads out."""
    text = str(error)
    if isinstance(error, AssertionError):
        out.tracebacks.append(f"another model answered: {text}")
    elif not isinstance(error, HarnessError | Unanswered):
        out.tracebacks.append("".join(traceback.format_exception(error)[-6:]))
    elif isinstance(error, HarnessError) and "hint: " not in text:
        out.tracebacks.append(f"no mend: {text}")
    elif any(key in text for key in _secrets(stand)):
        out.tracebacks.append(f"a key is shown: {type(error).__name__}")
    elif isinstance(error, BudgetReached) and stand.billed:
        out.over_cap = True


def _secrets(stand: Stand) -> list[str]:
    return [key for key in stand.keys.values() if len(key) > 12]


def _shown_in(store: Path, stand: Stand) -> list[str]:
    """Files of the store that hold a key."""
    files = [path for path in store.rglob("*") if path.is_file()]
    keys = [key.encode() for key in _secrets(stand)]
    return [f"a key is in {path.name}" for path in files if any(key in path.read_bytes() for key in keys)]


def _prices(base: str) -> tuple[Mapping[PriceKey, Price], str]:
    price = Price("", USD_PER_MTOK, USD_PER_MTOK, USD_PER_MTOK, "the play", TODAY.isoformat())
    return {(base, tuned): price for tuned in (False, True)}, "economics.toml"


@contextmanager
def _killing(kills: frozenset[tuple[int, bool]]) -> Iterator[list[tuple[int, bool]]]:
    """Clients that tune die before or after their n-th request; nobody waits between two calls.

    Answers of hosted models are asked by ``httpx2.AsyncClient``, which is let live.
    """
    import anyio
    import anyio.lowlevel
    import httpx
    import httpx2

    sent, fired = 0, list[tuple[int, bool]]()
    plain = {kind: kind.send for kind in (httpx.Client, httpx2.Client)}
    awaited = {httpx.AsyncClient: httpx.AsyncClient.send}
    sleep = anyio.sleep

    def turn(n: int, after: bool) -> None:
        if (n, after) in kills:
            fired.append((n, after))
            raise Killed

    def make(send: Any) -> Any:  # noqa: ANN401 - of any of the four
        def sending(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            nonlocal sent
            n, sent = sent, sent + 1
            turn(n, False)
            try:
                return send(self, *args, **kwargs)
            finally:
                turn(n, True)

        async def sending_soon(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            nonlocal sent
            n, sent = sent, sent + 1
            turn(n, False)
            try:
                return await send(self, *args, **kwargs)
            finally:
                turn(n, True)

        return sending_soon if send in awaited.values() else sending

    async def at_once(delay: float) -> None:
        await anyio.lowlevel.checkpoint()

    try:
        anyio.sleep = at_once
        for kind, send in (*plain.items(), *awaited.items()):
            setattr(kind, "send", make(send))  # noqa: B010 - mypy takes it for a method
        yield fired
    finally:
        anyio.sleep = sleep
        for kind, send in (*plain.items(), *awaited.items()):
            setattr(kind, "send", send)  # noqa: B010
