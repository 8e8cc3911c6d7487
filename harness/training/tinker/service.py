"""Tinker, or a server that speaks its wire, through the vendor's SDK: what is there, and what is refused."""

from __future__ import annotations

import concurrent.futures
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.errors import HostedTrainingError, ModelError
from harness.extras import require_extra
from harness.models.endpoint import NO_KEY
from harness.models.profiles import REHEARSAL_KEY, TINKER, twin_of
from harness.models.remote import RemoteModel
from harness.records import Json

if TYPE_CHECKING:
    from tinker import RestClient, ServiceClient
    from tinker.types import Checkpoint, TrainingRun

URL = "https://tinker.thinkingmachines.dev/services/tinker-prod"
CHATS = "/oai/api/v1"  # below the service's address: where it speaks OpenAI's API
FINGERPRINT_KEY, STEP_KEY = "harness_fingerprint", "harness_step"  # what sessions, runs, checkpoints carry
PLACEHOLDER_KEY = "tml-no-key-needed"  # for a server of one's own: the SDK insists on the beginning
FINAL = "harness-final"
CLOSING_S = 10.0
_STATE = re.compile(r"(?:.*/)?harness-step-([0-9]{1,9})")
# what the SDK raises where an answer is JSON of another shape
GARBAGE = (AttributeError, KeyError, TypeError)
UNKNOWN_CALL = (404, 405, 501)  # a server of an earlier wire


class TinkerFault(Exception):  # noqa: N818 - told to the user as a HostedTrainingError
    """A call that failed. ``may_pass``: the same might succeed in a new session."""

    def __init__(self, message: str, status: int | None = None, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.message, self.status, self.may_pass = message, status, may_pass


@dataclass(frozen=True, slots=True)
class SavedState:
    """A state to go on from."""

    step: int
    path: str  # tinker://RUN/weights/NAME


@dataclass(frozen=True, slots=True)
class There:
    """What a service has of a training."""

    final: Checkpoint | None = None  # the trained model, ready to be asked
    states: tuple[SavedState, ...] = ()  # the furthest first
    foreign: int = 0  # runs under the training's name that trained something else
    # runs of other machines that nobody has ended, and when each was last asked for something
    others: frozenset[tuple[str, datetime]] = frozenset()
    is_searched: bool = True  # False: the server cannot search, and only this machine's memory was used


@dataclass(frozen=True)
class TinkerService:
    """Where trainings of this kind run, and the key's variable."""

    base_url: str | None = None
    api_key_env: str | None = None

    @property
    def url(self) -> str:
        """The address, as the SDK finds it."""
        return (self.base_url or os.environ.get("TINKER_BASE_URL") or URL).rstrip("/")

    def identity(self) -> dict[str, Json]:
        """What names the service in fingerprints."""
        return {"tinker": self.url}

    def model(self, name: str, version: str | None = None) -> RemoteModel:
        """A base, or a checkpoint that was saved for sampling, as it answers there."""
        profile = twin_of(TINKER.name) if self.api_key_env == REHEARSAL_KEY else TINKER.name
        return RemoteModel(
            name,
            base_url=self.url + CHATS,
            api_key_env=self.api_key_env,
            profile=profile,
            version=version,
        )

    def require_ready(self) -> None:
        """See that the SDK is there, and a key.

        Raises:
            UsageError, ModelError: one is not.
        """
        require_extra("tinker", "fine-tuning at Tinker")
        self._key()

    def begin(self, fingerprint: str) -> ServiceClient:
        """A client with a session of its own, which carries the training's name."""
        from tinker import ServiceClient

        from harness.training.tinker.wire import StayingHolder

        marks = {FINGERPRINT_KEY: fingerprint}
        with self.calling():
            client = ServiceClient(user_metadata=marks, base_url=self.url, api_key=self._key())
            client._session_holder = StayingHolder(marks, base_url=self.url, api_key=self._key())
            return client

    @contextmanager
    def looking(self) -> Iterator[RestClient]:
        """A client that only looks, closed afterwards; the SDK's own stays open as long as the process."""
        from tinker import RestClient

        from harness.training.tinker.wire import StayingHolder

        with self.calling():
            holder = StayingHolder(base_url=self.url, api_key=self._key(), _skip_session=True)
        try:
            yield RestClient(holder)
        finally:
            with suppress(TinkerFault), self.calling():
                holder.run_coroutine_threadsafe(holder.aclose()).result(timeout=CLOSING_S)

    def stores(self, path: str) -> bool:
        """Whether a checkpoint is there; also where that cannot be found out."""
        run = path.removeprefix("tinker://").partition("/")[0]
        try:
            with self.looking() as rest, self.calling():
                listed = rest.list_checkpoints(run).result().checkpoints
        except TinkerFault as fault:
            return fault.status not in (404, 410)
        return any(checkpoint.tinker_path == path for checkpoint in listed)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """The SDK's exceptions as one of ours, without the key.

        Raises:
            TinkerFault: whatever the SDK raised.
        """
        import tinker
        from tinker.lib.retryable_exception import RetryableException
        from tinker.types import RequestErrorCategory

        clean = self.model("any").endpoint.scrub
        try:
            yield
        except tinker.RequestFailedError as error:
            is_mine = error.category is RequestErrorCategory.User
            raise TinkerFault(clean(error.message), 400 if is_mine else 500, may_pass=not is_mine) from None
        except tinker.APIStatusError as error:
            said = error.body.get("detail") if isinstance(error.body, dict) else None
            may_pass = error.status_code in (408, 409, 410, 429) or error.status_code >= 500
            message = clean(str(said or error.message))
            raise TinkerFault(message, error.status_code, may_pass=may_pass) from None
        except (RetryableException, concurrent.futures.CancelledError) as error:
            raise TinkerFault(clean(str(error)) or "the request was dropped", may_pass=True) from None
        except (tinker.TinkerError, ValueError, RuntimeError, TimeoutError, OSError, *GARBAGE) as error:
            # the SDK wraps refusals of results in ValueError, and calls after one in RuntimeError
            inner = error.__cause__
            status = inner.status_code if isinstance(inner, tinker.APIStatusError) else None
            raise TinkerFault(clean(str(error)), status, may_pass=status == 410) from None

    def _key(self) -> str:
        endpoint = self.model("any").endpoint
        endpoint.require_key()
        key = os.environ.get(endpoint.key_variable or "", "").strip() or NO_KEY
        if key == NO_KEY:
            return PLACEHOLDER_KEY
        if not key.startswith(("tml-", "eyJ")):
            raise ModelError(
                f"the environment variable {endpoint.key_variable} holds no key of Tinker's: those begin with"
                f" tml-.\n  hint: export {endpoint.key_variable}=tml-…; a server of your own takes any that"
                " begins so."
            )
        return key


# --------------------------------------------------------------------------- what is there
def look(
    service: TinkerService,
    rest: RestClient,
    fingerprint: str,
    base: str,
    rank: int,
    steps: int,
    known: Sequence[str] = (),
) -> There:
    """What the service has of the training of that name, in any session; ``known`` are sessions of ours.

    Raises:
        TinkerFault: it cannot be looked at. Nothing may be begun then: it might be there.
    """
    ours = dict.fromkeys(known, (False, True))
    sessions = ours  # whether somebody else may be at it, and whether it carries the name
    is_searched = True
    try:
        with service.calling():
            sessions = {**dict(_search(rest, fingerprint)), **ours}
    except TinkerFault as fault:
        if fault.status not in UNKNOWN_CALL:
            raise
        is_searched = False
    finals: list[Checkpoint] = []
    states: list[SavedState] = []
    others: set[tuple[str, datetime]] = set()
    foreign = 0
    for session, (is_open, is_named) in sessions.items():
        for run, checkpoints in _runs(service, rest, session):
            if not _is_ours(run, fingerprint, base, rank, is_named=is_named):
                foreign += 1
                continue
            if is_open:
                others.add((run.training_run_id, run.last_request_time))
            for checkpoint in checkpoints:
                marks = checkpoint.user_metadata or {}
                if marks.get(FINGERPRINT_KEY, fingerprint) != fingerprint:
                    continue
                step = _step(checkpoint)
                if checkpoint.checkpoint_type == "sampler" and checkpoint.checkpoint_id.endswith(FINAL):
                    finals.append(checkpoint)
                elif step is not None and 0 < step <= steps:
                    states.append(SavedState(step, checkpoint.tinker_path))
    final = max(finals, key=lambda found: found.time.replace(tzinfo=found.time.tzinfo or UTC), default=None)
    ordered = tuple(sorted(states, key=lambda state: -state.step))
    return There(final, ordered, foreign, frozenset(others), is_searched)


def _search(rest: RestClient, fingerprint: str) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """Sessions that may be ours; whether nobody has ended each, and whether it is shown to carry the name."""
    from tinker.types import SessionSearchRequest

    asked = SessionSearchRequest(user_metadata={FINGERPRINT_KEY: fingerprint}, limit=200)
    seen: set[str] = set()
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the call is marked experimental
            page = rest.search_sessions(asked).result()
        for session in page.sessions:
            # a server may ignore the filter
            mark = (session.user_metadata or {}).get(FINGERPRINT_KEY)
            if mark in (None, fingerprint):
                is_open = session.status is None or session.status.type == "active"
                yield session.session_id, (is_open, mark is not None)
        named = {session.session_id for session in page.sessions}
        if page.next_cursor is None or named <= seen:  # a server that cannot page gives one for ever
            return
        seen |= named
        asked = asked.model_copy(update={"cursor": page.next_cursor})


def _runs(
    service: TinkerService, rest: RestClient, session: str
) -> Iterator[tuple[TrainingRun, Sequence[Checkpoint]]]:
    """The runs of a session with their checkpoints; what is gone is passed over."""
    try:
        with service.calling():
            runs = rest.get_session(session).result().training_run_ids
    except TinkerFault as fault:
        if fault.status not in (404, 410):
            raise
        return
    for name in runs:
        try:
            with service.calling():
                run = rest.get_training_run(name).result()
                checkpoints = rest.list_checkpoints(name).result().checkpoints
        except TinkerFault as fault:
            if fault.status not in (404, 410):
                raise
            continue
        yield run, checkpoints


def _is_ours(run: TrainingRun, fingerprint: str, base: str, rank: int, *, is_named: bool) -> bool:
    """Whether it, or else its session, carries the name; a run that is not named might be any training's."""
    named = (run.user_metadata or {}).get(FINGERPRINT_KEY, fingerprint if is_named else None)
    is_alike = run.base_model == base and run.is_lora and run.lora_rank in (None, rank)
    return named == fingerprint and is_alike and not run.corrupted


def _step(checkpoint: Checkpoint) -> int | None:
    """The step that a training state was saved after."""
    named = _STATE.fullmatch(checkpoint.checkpoint_id)
    if checkpoint.checkpoint_type != "training" or named is None:
        return None
    told = (checkpoint.user_metadata or {}).get(STEP_KEY, named[1])
    return int(named[1]) if told.lstrip("0") == named[1].lstrip("0") else None


# --------------------------------------------------------------------------- refusals, told to people
def told(fault: TinkerFault, service: TinkerService, base: str, session: str | None) -> HostedTrainingError:
    """A call that failed, and what leads out."""
    again = "run again: it goes on from the last state that was saved."
    status, problem = fault.status, "the service refused a request."
    if status is None:
        problem = "the service cannot be reached, or did not answer as it should."
        hint = f"check the address and the network, then {again}"
    elif status in (401, 403):
        hint = "check that the key belongs to this service, has not been withdrawn, and may train models."
    elif status < 400:
        problem = f"{service.url} sends requests on to another address, where no key is sent."
        hint = "give base_url the address that answers itself."
    elif status == 402:
        hint = f"the account's billing stands in the way: see the service's console, then {again}"
    elif status == 404 and session is None:
        hint = f"check the address {service.url}, and that the service trains {base}."
    elif status == 410:
        problem, hint = "the session at the service has ended.", again
    elif status == 429:
        hint = f"the service is busy: {again}"
    elif status >= 500 or status in (408, 409):
        hint = again
    else:
        hint = (
            f"change what the service names. base={base!r} must be a name that it trains, and tokenizer= the"
            " one of that base."
        )
    return HostedTrainingError(
        problem, hint, code=None if status is None else str(status), message=fault.message, job=session
    )
