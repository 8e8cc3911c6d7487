"""The project's prices: its ``economics.toml``, found beside the suites, and the prices of hosted models."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from harness.candidates.base import PricedModel
from harness.data.files import opened, read_text
from harness.decision.economics_file import EconomicsConfig, parse_economics
from harness.decision.prices import price_of
from harness.errors import DataError, UnknownName, UsageError
from harness.records import Price
from harness.run.suite_loading import LoadedSuite

MOST_BYTES = 1_000_000


def economics_config(suites: Iterable[LoadedSuite], root: Path) -> EconomicsConfig | None:
    """``economics.toml`` of the folder above the suites, or of the project's root; None where there is none.

    Raises:
        UsageError: the file is not TOML, or holds a value that is not possible.
    """
    folders = (*(bound.folder.parent for bound in suites), root)
    path = next((f / "economics.toml" for f in folders if os.path.lexists(f / "economics.toml")), None)
    if path is None:
        return None
    where = os.path.relpath(path, root)
    try:
        with opened(path, ".toml") as file:
            return _parsed(path, where, os.fstat(file.fileno()).st_mtime_ns)
    except DataError as error:
        raise UsageError(f"{where}: {error.problem}\n  hint: {error.hint}") from error


@lru_cache(maxsize=8)
def _parsed(path: Path, where: str, mtime_ns: int) -> EconomicsConfig:
    # every model that is priced asks for the file; the time of its last change tells a new version apart
    return parse_economics(read_text(path, ".toml", most_bytes=MOST_BYTES), where)


def hosted_price(priced: PricedModel | None, config: EconomicsConfig | None) -> Price | None:
    """The price of a hosted model; None where the team serves the model itself.

    A server that is no known provider's may be the team's own, and is then priced as such.

    Raises:
        UnknownName: a provider's model has no price; the message has the lines to add.
    """
    if priced is None:
        return None
    model, tuned = priced.model, priced.is_tuned
    prices, where = ({}, "economics.toml") if config is None else (config.prices, config.where)
    try:
        return price_of(priced.billed_as, tuned, prices, where)
    except UnknownName:
        if model.provider.name not in ("compatible", "twin"):
            raise
        return None
