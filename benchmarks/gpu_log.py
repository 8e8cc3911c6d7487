"""What ``benchmarks.gpu`` measured: a JSON line each as it comes, and a page in Markdown at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from harness.records import Json

Entry: TypeAlias = dict[str, Any]  # a line as it was read


@dataclass(frozen=True, slots=True)
class Log:
    """What was measured, a JSON line each."""

    path: Path

    def add(self, kind: str, **found: Json) -> None:
        """Append a line. It is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **found}, ensure_ascii=False) + "\n")
        print(f"  {kind}: {found}", flush=True)

    def read(self) -> list[Entry]:
        """Every whole line; a process that was killed may have left half of one."""
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found


def table(entries: Sequence[Entry]) -> str:
    """The page in Markdown."""
    by_kind: dict[str, list[Entry]] = {}
    for entry in entries:
        by_kind.setdefault(entry["kind"], []).append(entry)
    about = by_kind["machine"][0]
    versions = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
    card = (
        f"{about['card']}, driver {about['driver']}"
        if "card" in about
        else "no card: the figures mean nothing"
    )
    lines = [f"{card}; Python {about['python']}, {versions}; {about['date']}.", ""]
    tests = by_kind.get("test", [])
    counted = {o: sum(test["outcome"] == o for test in tests) for o in ("passed", "failed", "skipped")}
    lines += [f"Tests on the device: {', '.join(f'{n} {o}' for o, n in counted.items())}."]
    lines += [f"Failed: {test['test']}." for test in tests if test["outcome"] == "failed"]
    lines += [f"{entry['what']}." for entry in by_kind.get("measured", [])]
    lines += [
        "",
        *_training_table(by_kind.get("training", [])),
        "",
        *_curve_lines(by_kind),
        "",
        *_answers_table(by_kind.get("answers", [])),
    ]
    failures = by_kind.get("failure", [])
    lines += ["", f"{len(failures)} failures." if failures else "Nothing failed."]
    lines += [f"- {f['part']}{', ' + f['what'] if 'what' in f else ''}: {f['reason']}" for f in failures]
    return "\n".join(lines) + "\n"


def _training_table(entries: Sequence[Entry]) -> list[str]:
    lines = [
        "| model | method | side | tokens/s | ours over it | peak memory | predicted | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ours = {(e["model"], e["method"]): e["tokens_per_second"] for e in entries if e["side"] == "ours"}
    for e in entries:
        own = ours.get((e["model"], e["method"]))
        ratio = f"{own / e['tokens_per_second']:.2f}×" if own and e["side"] != "ours" else ""
        predicted = e.get("predicted")
        error = f"{predicted / e['peak'] - 1:+.0%}" if predicted and e["peak"] else ""
        lines.append(
            f"| {e['model']} | {e['method']} | {e['side']} | {e['tokens_per_second']:,.0f} | {ratio}"
            f" | {_gigabytes(e['peak'])} | {_gigabytes(predicted)} | {error} |"
        )
    return lines


def _curve_lines(by_kind: dict[str, list[Entry]]) -> list[str]:
    """What trainings side by side took, against the longest alone and against all in turn."""
    lines = []
    for e in by_kind.get("curve", []):
        lines.append(
            f"{e['trainings']} trainings of the 8B shape by QLoRA, {e['shared']} of them side by side:"
            f" {e['seconds']:.1f} s, {e['seconds'] / e['longest']:.2f}× the longest alone"
            f" ({e['longest']:.1f} s); peak memory {_gigabytes(e['peak']) or 'not known'}."
        )
        off = [loss["off"] for loss in by_kind.get("curve loss", [])]
        if off:
            lines.append(
                f"Final losses of {len(off)} of them against each alone: at most {max(off):.2%} off."
            )
        lines += [
            f"TRL in turn, at its {t['tokens_per_second']:,.0f} tokens/s and without its loading:"
            f" {t['seconds']:.1f} s, {t['seconds'] / e['seconds']:.1f}× as long."
            for t in by_kind.get("curve in turn", [])
        ]
    return lines


def _answers_table(entries: Sequence[Entry]) -> list[str]:
    lines = [
        "| model | weights | answers/s | one call a row | ratio | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for e in entries:
        ratio = e["tokens_per_second"] / e["one_by_one_tokens_per_second"]
        lines.append(
            f"| {e['model']} | {e['weights']}"
            f" | {e['answers_per_second']:.1f} ({e['tokens_per_second']:,.0f} tokens/s)"
            f" | {e['one_by_one_answers_per_second']:.2f} ({e['one_by_one_tokens_per_second']:,.0f} tokens/s)"
            f" | {ratio:.1f}× | {_gigabytes(e['peak'])} |"
        )
    return lines


def _gigabytes(count: float | None) -> str:
    return "" if count is None else f"{count / 1e9:.1f} GB"
