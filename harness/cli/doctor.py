"""``harness doctor``: whether this machine can run the harness."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Examined:
    """The result of one check. ``ok`` is None for what is only worth knowing."""

    what: str
    ok: bool | None
    says: str


def doctor(fetch: bool, as_json: bool) -> int:
    """Print what ``examine`` finds; 0: this machine can run the harness, 1: something is missing."""
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
