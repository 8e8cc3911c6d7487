"""``harness doctor``: whether this machine can run the harness, and what of a base can be trained on it."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.arguments import number, whole
from harness.errors import ModelError, UsageError

if TYPE_CHECKING:
    from harness.training.hardware import Need
    from harness.training.memory import BaseShape


def add_doctor(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--fetch", action="store_true", help="fetch the built-in models")
    parser.add_argument("--json", action="store_true", help="for programs")
    base = parser.add_mutually_exclusive_group()
    base.add_argument(
        "--model", metavar="ID", help="what training this base takes in memory, from its configuration alone"
    )
    base.add_argument("--config", type=Path, metavar="FILE", help="the same of a base's config.json")
    count = whole(1, 10_000_000)
    parser.add_argument("--context", type=count, metavar="N", help="tokens a row; default: 2048")
    parser.add_argument("--batch", type=count, metavar="N", help="rows at once; default: 1")
    parser.add_argument("--rank", type=count, metavar="R", help="default: 16")
    parser.add_argument(
        "--memory", type=number(above=0), metavar="GB", help="of another machine's card; default: this one's"
    )


@dataclass(frozen=True, slots=True)
class Examined:
    """The result of one check. ``ok`` is None for what is only worth knowing."""

    what: str
    ok: bool | None
    says: str


def doctor(given: argparse.Namespace) -> int:
    """Print what ``examine`` finds; 0: this machine can run the harness, 1: something is missing.

    With ``--model`` or ``--config``, what training that base takes; 0: some way fits.
    """
    if given.model is not None or given.config is not None:
        return _base(given)
    lost = [
        f"--{name}" for name in ("context", "batch", "rank", "memory") if getattr(given, name) is not None
    ]
    if lost:
        raise UsageError(f"{', '.join(lost)}: of which base? Name it with --model or --config.")
    return _machine(given.fetch, given.json)


def _base(given: argparse.Namespace) -> int:
    from harness.models.configs import config_of, read_config
    from harness.report import numbers
    from harness.report.printable import printable
    from harness.training.hardware import best_need, device_memory, needs, shape_of

    name = str(given.config or given.model)
    config = config_of(name) if given.config is None else read_config(given.config, "name a config.json")
    try:
        shape = shape_of(config)
    except ValueError as error:
        raise ModelError(
            f"{name}: its memory is not known here: {error}.\n"
            "  hint: predicted are decoders with grouped attention and gated networks, such as Llama, Qwen,"
            " Mistral, Gemma and Mixtral."
        ) from error
    context, batch, rank = given.context or 2048, given.batch or 1, given.rank or 16
    found = needs(shape, tokens=context * batch, r=rank)
    room_gb, where = (
        device_memory() if given.memory is None else (given.memory, f"a card of {given.memory:g} GB")
    )
    if given.json:
        fields = ("weights", "optimiser", "activations", "logits")
        rows = [
            {
                "method": one.method,
                "gradient_checkpointing": one.checkpointing,
                "gb": one.gigabytes,
                **{f"{each}_gb": getattr(one.memory, each) / 1e9 for each in fields},
                "card_gb": one.card,
            }
            for one in found
        ]
        best = best_need(found, room_gb)
        print(json.dumps({"needs": rows, "room_gb": room_gb, "use": best and best.name}, indent=1))  # noqa: T201
    else:
        asked = f"{numbers.plural(batch, 'row')} of {context:,} tokens at once, rank {rank}"
        for line in _told(name, shape, found, asked, room_gb, where):
            print(printable(line))  # noqa: T201
    return 0 if best_need(found, room_gb) else 1


def _told(
    name: str, shape: BaseShape, found: list[Need], asked: str, room_gb: float, where: str
) -> Iterator[str]:
    from harness.training.hardware import advice, rank_advice

    weights = (shape.linear_weights + shape.other_weights) / 1e9
    yield f"{name}: {weights:.2f} billion weights; {asked}. Predicted from its configuration, in GB:"
    yield ""
    yield f"{'':36} {'in all':>8} {'weights':>8} {'optimiser':>10} {'activations':>12} {'logits':>7}  fits on"
    for one in found:
        memory = one.memory
        parts = (memory.weights, memory.optimiser, memory.activations, memory.logits)
        cells = [f"{part / 1e9:{width},.1f}" for part, width in zip(parts, (8, 10, 12, 7), strict=True)]
        card = f"{one.card} GB" if one.card else "several cards"
        yield f"{one.name:36} {one.gigabytes:8,.1f} {' '.join(cells)}  {card}"
    yield ""
    yield from advice(found, room_gb, where)
    yield rank_advice(shape)


def _machine(fetch: bool, as_json: bool) -> int:
    from harness.models.embeddings import ensure_embedder
    from harness.models.progress import Drawn, Silent
    from harness.models.source import ensure_builtin

    if fetch:
        progress = Drawn(sys.stderr) if sys.stderr.isatty() else Silent()
        ensure_builtin(progress)
        ensure_embedder(progress)
    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))  # noqa: T201
    else:
        marks = {True: "ok", False: "WRONG", None: "note"}
        for finding in findings:
            print(f"{marks[finding.ok]:>6}  {finding.what}: {finding.says}")  # noqa: T201
    return 1 if any(finding.ok is False for finding in findings) else 0


def examine() -> list[Examined]:
    """Python, packages, device, disk and the built-in models, as they are on this machine."""
    from harness.extras import EXTRAS, installed_version
    from harness.models.cache import cache_folder
    from harness.models.device import cpu_name, device_plan
    from harness.models.embeddings import embedder_is_at_hand
    from harness.models.fast import NAMES
    from harness.models.source import BUILTIN, is_at_hand
    from harness.scoring.judges import BUILTIN_EMBEDDER

    findings = [Examined("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    versions = {package: installed_version(package) for package in EXTRAS["local"]}
    if any(versions.values()):
        for package, found in versions.items():
            says = found or "not installed: pip install 'finetune-harness[local]'"
            findings.append(Examined(package, found is not None, says))
    else:  # a choice, not a fault
        says = "hosted models only; for models of this machine: pip install 'finetune-harness[local]'"
        findings.append(Examined("extra local", None, says))
    if versions["torch"] is not None:
        plan = device_plan()
        findings.append(Examined("device", None, f"{plan.numeric_config}; {cpu_name()}"))
        taken = [name for name in NAMES if name not in plan.fast.off]
        findings.append(Examined("fast paths", None, ", ".join(taken) or "none"))
        findings += [Examined("plain path", None, reason) for reason in plan.fast.reasons]
    free_gb = shutil.disk_usage(cache_folder()).free / 1e9
    says = f"{free_gb:.0f} GB free at {cache_folder()} (2 GB are needed)"
    findings.append(Examined("disk", free_gb > 2, says))
    ready = is_at_hand(BUILTIN)
    says = "not in the cache; the first run fetches 93 MB, or `harness doctor --fetch`"
    findings.append(Examined(f"model {BUILTIN}", ready or None, "in the cache" if ready else says))
    ready = embedder_is_at_hand()
    says = "not in the cache; the first `Similarity` fetches 84 MB, or `harness doctor --fetch`"
    findings.append(Examined(f"encoder {BUILTIN_EMBEDDER}", ready or None, "in the cache" if ready else says))
    return findings
