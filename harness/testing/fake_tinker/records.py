"""What the service knows, as its store keeps it: only weights that were not saved go with the process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

from harness.records import Json

Kind: TypeAlias = Literal["training", "sampler", "external"]
BillingKind: TypeAlias = Literal["training", "sampling_prefill", "sampling_sample"]
SEGMENTS: dict[Kind, str] = {
    "training": "weights",
    "sampler": "sampler_weights",
    "external": "external_weights",
}


def utc_now() -> datetime:
    """The time as the service says it."""
    return datetime.now(UTC)


class Lora(BaseModel):
    """The adapters of a run: rank, seed of their first weights, and the layers that get them."""

    rank: int
    seed: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True


class Session(BaseModel):
    """A client's session."""

    id: str
    created: datetime = Field(default_factory=utc_now)
    user_metadata: dict[str, str] = {}
    project_id: str | None = None
    display_name: str | None = None
    status: dict[str, Json] | None = {"type": "active"}


class Run(BaseModel):
    """A model that is trained."""

    id: str
    session_id: str
    base: str
    lora: Lora
    user_metadata: dict[str, str] = {}
    last_request: datetime = Field(default_factory=utc_now)


class Saved(BaseModel):
    """A checkpoint; ``id`` is its ``tinker://`` path, ``folder`` lies below that of all weights."""

    id: str
    run: str
    kind: Kind
    base: str
    lora: Lora
    folder: str
    created: datetime = Field(default_factory=utc_now)
    size: int = 0
    user_metadata: dict[str, str] | None = None
    expires: datetime | None = None
    public: bool = False

    @property
    def checkpoint_id(self) -> str:
        """Kind and name, as lists show them."""
        return self.id.partition("://")[2].partition("/")[2]

    def lives_for(self, seconds: int | None) -> Saved:
        """The same, to expire in so many seconds; None: never."""
        end = None if seconds is None else utc_now() + timedelta(seconds=seconds)
        return self.model_copy(update={"expires": end})


class Sampler(BaseModel):
    """A sampling session: a base, or a checkpoint on it."""

    id: str
    session_id: str
    base: str
    path: str | None = None
    clients: int = 0


class Request(BaseModel):
    """An accepted request, whose result is asked for later. ``owner`` is a run or a sampler.

    ``body`` is what the client sent, in base64: whatever was accepted is done again after a restart.
    """

    id: str
    owner: str
    number: int
    kind: str
    body: str
    status: Literal["pending", "done", "failed"] = "pending"
    answer: str = ""  # JSON, or (``proto``) base64
    proto: bool = False


class Usage(BaseModel):
    """Tokens that are billed, by hour, session, base and kind."""

    id: str
    hour: datetime
    session_id: str
    base: str
    kind: BillingKind
    tokens: int = 0
