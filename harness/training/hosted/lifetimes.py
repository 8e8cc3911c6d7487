"""When a hosted model stops being tuned, and when it and its fine-tunes stop answering."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files

from harness.decision.economics_file import EconomicsConfig
from harness.errors import HostedTrainingError

DEFAULT_HORIZON_DAYS = EconomicsConfig(1).horizon_days
_SNAPSHOT = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")


def today() -> date:
    """The day, in UTC. Whatever depends on the day asks here."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, slots=True)
class Closures:
    """Announced ends. ``shutdowns`` has the day from which a model no longer answers.

    ``no_new_jobs_from`` holds for every model; ``closed_to_tuning`` has those that were closed before it.
    """

    known_on: date
    source: str
    no_new_jobs_from: date | None
    shutdowns: Mapping[str, date]
    closed_to_tuning: Mapping[str, date] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a base can be tuned and asked, its fine-tunes with it. None: no end is known.

    ``source`` of the shutdown date: the service, or the table with its day.
    """

    model: str
    no_new_jobs_from: date | None
    shutdown: date | None
    source: str


@cache
def known_closures() -> Closures:
    """The table that comes with this package."""
    text = (files("harness.training.hosted") / "lifetimes.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    listed = [(name, entry) for entry in document["closure"] for name in entry["models"]]
    return Closures(
        known_on=document["known_on"],
        source=document["source"],
        no_new_jobs_from=document["tuning"]["no_new_jobs_from"],
        shutdowns={name: entry["shutdown"] for name, entry in listed},
        closed_to_tuning={
            name: entry["no_new_jobs_from"] for name, entry in listed if "no_new_jobs_from" in entry
        },
    )


def lifetime(model: str, service_date: str | None, *, in_table: bool) -> Lifetime:
    """The lifetime of a base model or of a fine-tune on it, which is called ``ft:BASE:…``.

    ``service_date``, the ``shutdown_date`` of the service's model object, comes before the table.
    """
    by_service = _date(service_date)
    if not in_table:
        return Lifetime(model, None, by_service, "the service" if by_service else "")
    table = known_closures()
    base = model.split(":")[1] if model.startswith("ft:") else model
    names = [f"ft:{base}", base] if model != base else [base]
    # a snapshot's day, else that of its model
    days = [table.shutdowns.get(text) for name in names for text in (name, _SNAPSHOT.sub("", name))]
    by_table = next((day for day in days if day is not None), None)
    return Lifetime(
        model=model,
        no_new_jobs_from=table.closed_to_tuning.get(base, table.no_new_jobs_from),
        shutdown=by_service or by_table,
        source="the service" if by_service else f"{table.source}, as read on {table.known_on}",
    )


def require_tunable(found: Lifetime, today: date) -> None:
    """Check, before a job, that the model can still be tuned and that its fine-tune will answer.

    Raises:
        HostedTrainingError: it is too late.
    """
    elsewhere = "tune a model with open weights (QLoRA), or one at another service (base_url='…')."
    if found.shutdown is not None and found.shutdown <= today:
        raise HostedTrainingError(
            f"{found.model} was shut down on {found.shutdown} ({found.source}): it can be tuned no more.",
            elsewhere,
        )
    if found.no_new_jobs_from is not None and found.no_new_jobs_from <= today:
        raise HostedTrainingError(
            f"no new tuning job can begin at this service since {found.no_new_jobs_from}"
            f" ({known_closures().source}, as read on {known_closures().known_on}).",
            elsewhere,
        )


def ending_notes(found: Lifetime, today: date, horizon_days: float) -> tuple[str, ...]:
    """Sentences for the report where an end is known: a warning where it lies within the horizon.

    The horizon is the time over which the project's economics add up a saving.
    """
    notes: list[str] = []
    if found.shutdown is not None:
        days = (found.shutdown - today).days
        ends = f"{found.model} and every fine-tune on it stop answering on {found.shutdown}"
        if days <= 0:
            notes.append(f"WARNING: {ends} ({found.source}): that day has passed.")
        elif found.shutdown <= today + timedelta(days=horizon_days):
            notes.append(
                f"WARNING: {ends}, in {days} days: within the horizon of {horizon_days:g} days"
                f" ({found.source}). What the tuning costs must come back before then."
            )
        else:
            notes.append(f"{ends}, in {days} days ({found.source}).")
    if found.no_new_jobs_from is not None:
        when = "can begin since" if found.no_new_jobs_from <= today else "begin there from"
        notes.append(f"no new tuning jobs {when} {found.no_new_jobs_from}: it cannot be tuned again after.")
    return tuple(notes)


def earliest(found: Sequence[str | None]) -> str | None:
    """The first of several ISO dates; texts that are no date are left out."""
    dates = [day for text in found if (day := _date(text)) is not None]
    return min(dates).isoformat() if dates else None


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        return None
