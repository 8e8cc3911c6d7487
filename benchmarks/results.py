"""What a benchmark measured: one table on the terminal, one entry each in ``results.json``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal, TypeAlias

from harness.atomic import write_atomically
from harness.models.device import cpu_name, device_plan
from harness.records import Json

RESULTS = Path(__file__).parent / "results.json"
SHOWN_VERSIONS = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "numpy", "scipy")

BarIs: TypeAlias = Literal["ratio at least", "ratio at most", "value at least", "value at most"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run of the benchmarks was asked for.

    Args:
        smoke: a few steps of everything, to see that it runs; its figures mean nothing and are not kept.
        to_loss: race to equal development loss on all training rows instead of 100.
        rounds: how often the two sides of a comparison alternate.
        only: parts of a benchmark that has parts (``decision_quality``); empty: all.
    """

    smoke: bool = False
    to_loss: bool = False
    rounds: int = 3
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One measure. ``bar`` must be met, ``target`` is aimed at; ``bar_is`` says what of, and which way.

    ``value`` is None when there was nothing to measure (a loss that was never reached); that fails the bar.
    ``detail`` holds what the figure cannot be read without: n, spread, how it was split.
    """

    name: str
    value: float | None
    unit: str
    detail: str
    reference: str = ""
    reference_value: float | None = None
    ratio: float | None = None
    bar: float | None = None
    target: float | None = None
    bar_is: BarIs | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        return self._meets(self.bar)

    @property
    def on_target(self) -> bool | None:
        """Whether the target is met; None without one."""
        return self._meets(self.target)

    def _meets(self, limit: float | None) -> bool | None:
        if limit is None or self.bar_is is None:
            return None
        judged = self.ratio if self.bar_is.startswith("ratio") else self.value
        if judged is None:
            return False
        return bool(judged >= limit if self.bar_is.endswith("least") else judged <= limit)


@dataclass(frozen=True, slots=True)
class Setting:
    """When and where results were measured. ``machine`` is as it was before the benchmark began."""

    date: str  # ISO 8601, UTC
    machine: dict[str, Json]
    versions: dict[str, str]


def this_setting() -> Setting:
    """This machine, now. The load average tells whether somebody else was computing, too."""
    return Setting(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        machine={
            "cpu": cpu_name(),
            "cores": os.cpu_count() or 1,
            "device": device_plan().device,
            "dtype": device_plan().dtype,
            "system": f"{platform.system()} {platform.release()}",
            "load_average_1_min": round(os.getloadavg()[0], 2),
        },
        versions={"python": platform.python_version(), **{name: version(name) for name in SHOWN_VERSIONS}},
    )


def keep(results: Sequence[Result], setting: Setting, path: Path = RESULTS) -> None:
    """Write results into ``path``; an earlier entry of the same name gives way, the others stay."""
    kept: list[dict[str, Json]] = json.loads(path.read_text("utf-8")) if path.exists() else []
    fresh = {result.name for result in results}
    entries = [entry for entry in kept if entry["name"] not in fresh]
    entries += [{**asdict(result), "passed": result.passed, **asdict(setting)} for result in results]
    entries.sort(key=lambda entry: str(entry["name"]))
    write_atomically(path, json.dumps(entries, indent=1, ensure_ascii=False) + "\n")


def show(results: Sequence[Result], setting: Setting) -> None:
    """Print the table, and below it what each figure rests on."""
    from rich.console import Console
    from rich.table import Table

    machine = setting.machine
    title = f"{machine['cpu']}, {machine['cores']} cores, torch {setting.versions['torch']}, {setting.date}"
    table = Table(title=title, title_justify="left")
    for column in ("measure", "value", "reference", "ratio", "bar", "target", "bar met"):
        table.add_column(
            column, justify="left" if column == "measure" else "right", no_wrap=column == "measure"
        )
    for result in results:
        table.add_row(*_cells(result))
    console = Console(width=132, highlight=False, markup=False)
    console.print(table)
    for result in results:
        against = f" Reference: {result.reference}." if result.reference else ""
        console.print(f"{result.name}: {result.detail}.{against}", soft_wrap=True)


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.name,
        _figure(result.value, result.unit),
        _figure(result.reference_value, result.unit) if result.reference else "",
        f"{result.ratio:.2f}×" if result.ratio is not None else "",
        _limit(result.bar, result),
        _limit(result.target, result),
        "" if result.passed is None else "yes" if result.passed else "NO",
    )


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "not reached"
    return f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def _limit(limit: float | None, result: Result) -> str:
    if limit is None or result.bar_is is None:
        return ""
    sign = "≥" if result.bar_is.endswith("least") else "≤"
    return f"{sign} {limit:g}×" if result.bar_is.startswith("ratio") else f"{sign} {limit:g} {result.unit}"
