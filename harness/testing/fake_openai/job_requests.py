"""The body of ``POST /v1/fine_tuning/jobs``, checked."""

from __future__ import annotations

import secrets

from harness.records import Json
from harness.testing.fake_openai.catalogue import Catalogue
from harness.testing.fake_openai.files import Files
from harness.testing.fake_openai.parameters import (
    Body,
    array,
    decimal,
    integer,
    kind_of,
    mapping,
    metadata,
    one_of,
    require_known,
    required_text,
    short_text,
    text,
)
from harness.testing.fake_openai.records import Auto, Hyperparameters, Job
from harness.testing.fake_openai.refusals import missing_parameter, unsupported, wrong_type
from harness.testing.fake_openai.store import new_id

KNOWN = (
    "model",
    "training_file",
    "hyperparameters",
    "integrations",
    "metadata",
    "method",
    "seed",
    "suffix",
    "validation_file",
)
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
WANDB = ("project", "entity", "name", "tags")
MOST_EPOCHS, MOST_BATCH_ROWS, MOST_SEED = 50, 256, 2**31 - 1
LONGEST_SUFFIX = 64


def job_of(body: Body, catalogue: Catalogue, files: Files, now: float) -> Job:
    """The job that a request asks for.

    Raises:
        Refusal: a parameter that is unknown, missing or wrong, a file that cannot be used, or a model that
            cannot be tuned.
    """
    require_known(body, KNOWN)
    model = catalogue.tunable(required_text(body, "model"))
    training = files.for_purpose(required_text(body, "training_file"), "fine-tune", "training_file")
    validation = text(body, "validation_file")
    if validation is not None:
        files.for_purpose(validation, "fine-tune", "validation_file")
    seed = integer(body, "seed", 0, MOST_SEED)
    return Job(
        id=new_id("ftjob-"),
        created_at=int(now),
        model=model.name,
        training_file=training.id,
        validation_file=validation,
        seed=secrets.randbelow(MOST_SEED) if seed is None else seed,
        suffix=short_text(body, "suffix", LONGEST_SUFFIX),
        hyperparameters=_hyperparameters(body),
        metadata=metadata(body),
        integrations=tuple(_integration(item) for item in array(body, "integrations")),
    )


def _hyperparameters(body: Body) -> Hyperparameters:
    """Those of ``method``, or the older ones beside it."""
    given, inside = mapping(body, "hyperparameters") or {}, "hyperparameters."
    method = mapping(body, "method")
    if method is not None:
        require_known(method, ("type", "supervised", "dpo", "reinforcement"), "method.")
        kind = one_of(method, "type", ("supervised", "dpo", "reinforcement"), "")
        if kind != "supervised":
            raise unsupported("method.type", f"'{kind}'")
        supervised = mapping(method, "supervised") or {}
        require_known(supervised, ("hyperparameters",), "method.supervised.")
        given = mapping(supervised, "hyperparameters") or given
        inside = "method.supervised.hyperparameters."
    require_known(given, HYPERPARAMETERS, inside)
    rate = "learning_rate_multiplier"
    return Hyperparameters(
        n_epochs=_auto_or_integer(given, "n_epochs", MOST_EPOCHS, inside),
        batch_size=_auto_or_integer(given, "batch_size", MOST_BATCH_ROWS, inside),
        learning_rate_multiplier="auto"
        if _is_auto(given, rate)
        else decimal(given, rate, 1e-5, 10_000.0, inside + rate) or "auto",
    )


def _auto_or_integer(given: Body, name: str, most: int, inside: str) -> int | Auto:
    if _is_auto(given, name):
        return "auto"
    return integer(given, name, 1, most, inside + name) or "auto"


def _is_auto(given: Body, name: str) -> bool:
    return given.get(name) in (None, "auto")


def _integration(item: Json) -> dict[str, Json]:
    if not isinstance(item, dict):
        raise wrong_type("integrations", "an object", kind_of(item))
    require_known(item, ("type", "wandb"), "integrations.")
    one_of(item, "type", ("wandb",), "")
    wandb = mapping(item, "wandb")
    if wandb is None:
        raise missing_parameter("integrations.wandb")
    require_known(wandb, WANDB, "integrations.wandb.")
    if not wandb.get("project"):
        raise missing_parameter("integrations.wandb.project")
    return {"type": "wandb", "wandb": dict(wandb)}
