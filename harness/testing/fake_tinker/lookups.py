"""What clients look up: sessions, runs, checkpoints and their files, samplers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import pydantic
from starlette.responses import Response
from tinker import types
from tinker.types.session_heartbeat_request import SessionHeartbeatRequest
from tinker.types.session_heartbeat_response import SessionHeartbeatResponse

from harness.records import Json
from harness.testing.fake_tinker.records import Run, Sampler, Saved, Session, utc_now
from harness.testing.fake_tinker.service import TinkerService
from harness.testing.fake_tinker.wire import Refused, parsed

OWNER = "tml:organization_user:fake"


@dataclass(frozen=True, slots=True)
class Call:
    """A request: the parameters of its path and query, its body, its headers."""

    at: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    headers: Mapping[str, str]


class FinishBody(pydantic.BaseModel, extra="forbid"):
    """The body of ``finish``."""

    reason: dict[str, str]
    detail: str | None = None


class Lookups:
    """Answers of the service that change nothing but a session's life."""

    def __init__(self, service: TinkerService) -> None:
        self._service = service

    def heartbeat(self, call: Call) -> SessionHeartbeatResponse:
        """A client is alive."""
        self._service.session(parsed(SessionHeartbeatRequest, call.body).session_id, alive=True)
        return SessionHeartbeatResponse()

    def finish(self, call: Call) -> None:
        """The first reason that is given ends the session."""
        asked = parsed(FinishBody, call.body)
        status: dict[str, Json] = {"type": "client_finished", "reason": dict(asked.reason)}
        session = self._service.session(call.at["session"])
        if (session.status or {}).get("type") == "active":
            self._service.store.put(session.model_copy(update={"status": {**status, "detail": asked.detail}}))

    def sessions(self, call: Call) -> types.ListSessionsResponse:
        """Names, the newest first."""
        names = [session.id for session in self._service.store.newest_first(Session)]
        begin, end = _window(call, len(names))
        return types.ListSessionsResponse(sessions=names[begin:end])

    def session(self, call: Call) -> types.GetSessionResponse:
        """What belongs to it."""
        session, store = self._service.session(call.at["session"]), self._service.store
        return types.GetSessionResponse(
            training_run_ids=[r.id for r in store.newest_first(Run) if r.session_id == session.id],
            sampler_ids=[s.id for s in store.newest_first(Sampler) if s.session_id == session.id],
            user_metadata=session.user_metadata or None,
            display_name=session.display_name,
        )

    def search(self, call: Call) -> dict[str, Json]:
        """A page of the sessions that fit, the newest first."""
        asked = parsed(types.SessionSearchRequest, call.body)
        found = [s for s in self._service.store.newest_first(Session) if _fits(s, asked)]
        if asked.cursor is not None:
            names = [session.id for session in found]
            last = asked.cursor.last_session_id
            found = found[names.index(last) + 1 :] if last in names else []
        page, more = found[: asked.limit], found[asked.limit :]
        saved = self._service.all_saved()
        sessions: list[Json] = []
        for session in page:
            own = [one for one in saved if one.run.startswith(f"{session.id}:")]
            sessions.append(
                {
                    "session_id": session.id,
                    "created_at": session.created.isoformat(),
                    "owner": OWNER,
                    "project_id": session.project_id or "project-default",
                    "status": session.status,
                    "checkpoints_count": len(own),
                    "display_name": session.display_name,
                    "user_metadata": dict(session.user_metadata) or None,
                    "checkpoint_storage_bytes": sum(one.size for one in own),
                }
            )
        after: Json = None
        if more:
            after = {"last_created_at": page[-1].created.isoformat(), "last_session_id": page[-1].id}
        return {"sessions": sessions, "next_cursor": after}

    # ------------------------------------------------------------------- runs, checkpoints, samplers
    def run(self, run: Run) -> types.TrainingRun:
        """A run with its last checkpoints."""
        saved = self._service.all_saved(run.id)
        last = {one.kind: _shown(one) for one in reversed(saved)}
        return types.TrainingRun(
            training_run_id=run.id,
            base_model=run.base,
            model_owner=OWNER,
            is_lora=True,
            lora_rank=run.lora.rank,
            last_request_time=run.last_request,
            last_checkpoint=last.get("training"),
            last_sampler_checkpoint=last.get("sampler"),
            user_metadata=run.user_metadata or None,
        )

    def runs(self, call: Call) -> types.TrainingRunsResponse:
        """A page of them."""
        runs = self._service.store.newest_first(Run)
        begin, end = _window(call, len(runs))
        cursor = types.Cursor(offset=begin, limit=end - begin, total_count=len(runs))
        return types.TrainingRunsResponse(training_runs=list(map(self.run, runs[begin:end])), cursor=cursor)

    def checkpoints(self, call: Call, run: str) -> types.CheckpointsListResponse:
        """All of a run; a page of all."""
        if run:
            self._service.find(Run, run)
        saved = self._service.all_saved(run)
        begin, end = (0, len(saved)) if run else _window(call, len(saved), 100)
        cursor = None if run else types.Cursor(offset=begin, limit=end - begin, total_count=len(saved))
        return types.CheckpointsListResponse(checkpoints=list(map(_shown, saved[begin:end])), cursor=cursor)

    def urls(self, call: Call) -> types.ExternalWeightsUrlsResponse:
        """Where the files of exported weights are."""
        saved = self._service.saved(path_of(call))
        at = f"http://{call.headers['host']}/api/v1/training_runs/{saved.run}/checkpoints/{saved.checkpoint_id}/files"
        files = sorted(file.name for file in (self._service.weights / saved.folder).iterdir())
        return types.ExternalWeightsUrlsResponse(
            urls={name: f"{at}/{name}" for name in files}, expires=utc_now() + timedelta(hours=1)
        )

    def file(self, call: Call) -> Response:
        """One of them."""
        folder = self._service.weights / self._service.saved(path_of(call)).folder
        files = {file.name: file for file in folder.iterdir()}
        if call.at["file"] not in files:
            raise Refused(404, f"no file {call.at['file']}")
        return Response(files[call.at["file"]].read_bytes(), media_type="application/octet-stream")

    def sampler(self, call: Call) -> types.GetSamplerResponse:
        """What answers in a sampling session."""
        sampler = self._service.find(Sampler, call.at["sampler"])
        return types.GetSamplerResponse(
            sampler_id=sampler.id, base_model=sampler.base, model_path=sampler.path
        )


def path_of(call: Call) -> str:
    """The checkpoint that a request names."""
    return f"tinker://{call.at['run']}/{call.at['checkpoint']}"


def _window(call: Call, total: int, default: int = 20) -> tuple[int, int]:
    try:
        limit, offset = int(call.query.get("limit", default)), int(call.query.get("offset", 0))
    except ValueError as error:
        raise Refused(422, "limit and offset are numbers") from error
    if limit < 1 or offset < 0:
        raise Refused(422, "limit is at least 1, offset at least 0")
    return min(offset, total), min(offset + limit, total)


def _fits(session: Session, asked: types.SessionSearchRequest) -> bool:
    if not asked.user_metadata.items() <= session.user_metadata.items():
        return False
    if asked.project_ids is not None and session.project_id not in asked.project_ids:
        return False
    status = session.status or {}
    if asked.statuses is not None and status.get("type") not in {query.type for query in asked.statuses}:
        return False
    if asked.session_id is None and asked.display_name is None:
        return True
    words = (asked.display_name or "").lower().split()
    named = bool(words) and all(word in (session.display_name or "").lower() for word in words)
    return named or session.id == asked.session_id


def _shown(saved: Saved) -> types.Checkpoint:
    return types.Checkpoint(
        checkpoint_id=saved.checkpoint_id,
        checkpoint_type=saved.kind,
        time=saved.created,
        tinker_path=saved.id,
        size_bytes=saved.size,
        public=saved.public,
        user_metadata=saved.user_metadata,
        expires_at=saved.expires,
    )
