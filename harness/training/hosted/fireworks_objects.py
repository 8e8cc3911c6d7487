"""Names, states and objects of Fireworks' API as plain values; shapes are those of its SDK 1.2.30.

What is given under a documented field may still be missing or of another form, so every object is read as a
mapping of the wire's own names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

from harness.errors import UsageError
from harness.records import Json
from harness.training.hosted.openai_objects import Clean
from harness.training.hosted.provider import SUCCEEDED, JobFailure, OutcomeUnknown, RemoteFile, TuningJob

PUBLISHING = "publishing"  # a status of ours: the job has ended well, and its model cannot be loaded yet
LONGEST_ID = 63  # characters of a resource's id
_ID = re.compile(rf"(?!-)[a-z0-9-]{{1,{LONGEST_ID}}}(?<!-)")
_NANOS = 1e9

#: What each of the service's states is here. A word that is not listed means that the job goes on under it.
STATES: Mapping[str, str] = MappingProxyType(
    {
        "JOB_STATE_UNSPECIFIED": "unspecified",
        "JOB_STATE_CREATING": "creating",
        "JOB_STATE_CREATING_INPUT_DATASET": "creating_input_dataset",
        "JOB_STATE_VALIDATING": "validating",
        "JOB_STATE_PENDING": "pending",
        "JOB_STATE_RE_QUEUEING": "re_queueing",
        "JOB_STATE_RUNNING": "running",
        "JOB_STATE_WRITING_RESULTS": "writing_results",
        # nothing says that it has ended, and a second job would be paid beside it
        "JOB_STATE_IDLE": "idle",
        "JOB_STATE_COMPLETED": SUCCEEDED,
        # it stops by itself only where early_stop asked for that, and then has its model
        "JOB_STATE_EARLY_STOPPED": SUCCEEDED,
        # by an account that is suspended, or by hand: it may be resumed, so no second one is begun
        "JOB_STATE_PAUSED": "paused",
        "JOB_STATE_FAILED": "failed",
        "JOB_STATE_EXPIRED": "failed",  # its time ran out before it had a model
        "JOB_STATE_CANCELLING": "cancelling",
        "JOB_STATE_CANCELLED": "cancelled",
        # its model is not promised any more, and its id is still taken
        "JOB_STATE_DELETING": "cancelled",
        "JOB_STATE_DELETING_CLEANING_UP": "cancelled",
    }
)
#: What the service calls a failure that the same input would meet again, in the words that the harness reads.
_OF_THE_INPUT = {"INVALID_ARGUMENT": "invalid_argument", "NOT_FOUND": "not_found"}


# --------------------------------------------------------------------------- names
def is_id(text: str) -> bool:
    """Whether it can be a resource's id: 1 to 63 of a-z, 0-9 and ``-``, which stands at neither end."""
    return _ID.fullmatch(text) is not None


def resource(name: str, kind: str, account: str) -> str:
    """The full name of a model or deployment that may be given by its id: ``accounts/A/models/ID``.

    Raises:
        UsageError: it is neither.
    """
    parts = name.split("/")
    if len(parts) == 1 and account:
        parts = ["accounts", account, kind, name]
    is_full = len(parts) == 4 and (parts[0], parts[2]) == ("accounts", kind) and parts[1] and parts[3]
    if not is_full:
        raise UsageError(
            f"{name!r} is no name of Fireworks' {kind}.\n"
            f"  hint: write accounts/ACCOUNT/{kind}/ID, or the ID alone: as the service's own pages show it."
        )
    return "/".join(parts)


def last(name: str) -> str:
    """The id in a resource's full name."""
    return name.rpartition("/")[2]


def account_of(name: str) -> str:
    """The account in a resource's full name."""
    return name.split("/")[1]


# --------------------------------------------------------------------------- objects
def read(item: object) -> Mapping[str, Json]:
    """An object of the SDK as a mapping of the wire's own names.

    Raises:
        OutcomeUnknown: it is no object.
    """
    from fireworks import BaseModel

    if isinstance(item, Mapping):
        return item
    if not isinstance(item, BaseModel):
        raise OutcomeUnknown("the service answered with something that is no JSON object")
    found: Mapping[str, Json] = item.to_dict(mode="json", warnings=False)
    return found


def read_job(item: object, account: str, clean: Clean) -> TuningJob:
    """A supervised fine-tuning job.

    Raises:
        OutcomeUnknown: it is none, or has no name.
    """
    found = read(item)
    id = last(text(found, "name"))
    if not id:
        raise OutcomeUnknown("the service's answer has no name of a job")
    state = text(found, "state")
    status = STATES.get(state, state.removeprefix("JOB_STATE_").lower())
    given = {
        "n_epochs": found.get("epochs"),
        "batch_size": found.get("batchSizeSamples"),
        "learning_rate": found.get("learningRate"),
        "lora_rank": found.get("loraRank"),
    }
    return TuningJob(
        id=id,
        status=status,
        model=text(found, "baseModel"),
        training_file=last(text(found, "dataset")),
        validation_file=last(text(found, "evaluationDataset")) or None,
        tuned_model=resource(text(found, "outputModel") or id, "models", account)
        if status == SUCCEEDED
        else None,
        hyperparameters={name: value for name, value in given.items() if value},
        failure=_failure(found, state, clean) if status == "failed" else None,
        estimated_usd=_usd(found.get("estimatedCost")),
        created=_seconds(found.get("createTime")) or 0,
        finished=_seconds(found.get("completedTime")) if status == SUCCEEDED else None,
    )


def read_dataset(item: object, clean: Clean) -> RemoteFile:
    """A dataset. One that is neither ready nor in trouble is still being checked."""
    found = read(item)
    id, problem = last(text(found, "name")), trouble(found, clean)
    if not id:
        raise OutcomeUnknown("the service's answer has no name of a dataset")
    state: Literal["checking", "ready", "unusable"] = "unusable" if problem else "checking"
    return RemoteFile(id, "ready" if found.get("state") == "READY" else state, problem)


def trouble(found: Mapping[str, Json], clean: Clean) -> str:
    """The words of an object's ``status`` where it is not well; else empty."""
    status = found.get("status")
    if not isinstance(status, Mapping) or text(status, "code") in ("", "OK"):
        return ""
    return clean(text(status, "message") or text(status, "code"))


def text(found: Mapping[str, Json], name: str) -> str:
    """A field of text; empty where it is missing or none."""
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _failure(found: Mapping[str, Json], state: str, clean: Clean) -> JobFailure:
    status = found.get("status")
    code = text(status, "code") if isinstance(status, Mapping) else ""
    if state == "JOB_STATE_EXPIRED":
        return JobFailure("expired", trouble(found, clean) or "its time ran out")
    return JobFailure(_OF_THE_INPUT.get(code, code.lower()) or None, trouble(found, clean) or None)


def _usd(money: object) -> float | None:
    """Dollars of a ``Money`` object: whole units as text, and 1e-9ths; None in another currency, or at 0."""
    if not isinstance(money, Mapping) or money.get("currencyCode") not in (None, "", "USD"):
        return None
    try:
        usd = float(str(money.get("units") or 0)) + float(str(money.get("nanos") or 0)) / _NANOS
    except ValueError:
        return None
    return usd if math.isfinite(usd) and usd > 0 else None


def _seconds(moment: object) -> int | None:
    """Seconds since 1970 of a time: RFC 3339 as documented, or a number; None where it is neither."""
    if isinstance(moment, int | float) and not isinstance(moment, bool) and math.isfinite(moment):
        return int(moment / 1e3 if moment > 1e11 else moment)  # of milliseconds
    if not isinstance(moment, str):
        return None
    try:
        found = datetime.fromisoformat(moment.strip())
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
