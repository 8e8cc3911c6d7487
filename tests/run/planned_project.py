"""A project in a folder, and a run over it that sends nothing: what tests of plans stand on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.candidates.base import Candidate
from harness.candidates.hosted_tuning import OpenAITuning
from harness.models.progress import Silent
from harness.models.protocol import Decoding
from harness.run.selection import Definition
from harness.run.session import Session
from harness.run.suite_loading import load_suite
from harness.scoring.checks import ExactMatch
from harness.scoring.suite import Suite, SuiteScore
from harness.settings import Settings

NOWHERE = "http://127.0.0.1:1/v1"  # on this machine no key is asked for, and nobody answers
MODEL = "gpt-4o-mini"
EIGHT = Decoding(max_new_tokens=8)
HOSTED = OpenAITuning(
    base=MODEL, train="train.jsonl", epochs=2, base_url=NOWHERE, profile="twin", decoding=EIGHT
)
# a dollar to read, two to write, three to train on a million tokens; of the fine-tune ten times as much
PRICES = f"""
requests_per_day = 1

[prices."{MODEL}"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 2.0
source = "a test"
date = "2026-11-20"

[prices."{MODEL}".tuned]
training_usd_per_mtok = 3.0
input_usd_per_mtok = 10.0
output_usd_per_mtok = 20.0
"""


def lines(questions: Sequence[str], answer: str = "yes") -> str:
    """Rows as JSONL."""
    turns = [[{"role": "user", "content": q}, {"role": "assistant", "content": answer}] for q in questions]
    return "".join(json.dumps({"id": str(k), "messages": t}) + "\n" for k, t in enumerate(turns))


@dataclass
class Project:
    """12 training rows, a suite of 10 rows, and prices; runs over it."""

    root: Path
    candidates: dict[str, Candidate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.write("train.jsonl", lines([f"train {k}?" for k in range(12)]))
        self.suite()
        self.write("suites/economics.toml", PRICES)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def suite(self, name: str = "support", questions: Sequence[str] = (), answer: str = "yes") -> None:
        asked = questions or [f"{name} {k}?" for k in range(10)]
        self.write(f"suites/{name}/heldout.jsonl", lines(asked, answer))

    def run(
        self,
        max_usd: float | None = None,
        prompt: str | None = None,
        scores: tuple[SuiteScore, ...] = (ExactMatch(name="right"),),
        **asked: object,
    ) -> Session:
        """A run of every candidate, its suites bound."""
        settings = Settings(
            candidates=tuple(self.candidates),
            baseline=None,
            sizes=(),
            seeds=(0,),
            gate="release",
            store=self.root / ".harness",
            reports=self.root / "reports",
            root=self.root,
            max_usd=max_usd,
        )
        made = Session(replace(settings, **asked), Silent())  # type: ignore[arg-type]
        made.selection.choose({n: Definition(n, c, self.root, n) for n, c in self.candidates.items()})
        for folder in sorted((self.root / "suites").iterdir()):
            if folder.is_dir():
                if prompt is not None:
                    (folder / "prompt.md").write_text(prompt, encoding="utf-8")
                suite = Suite(
                    heldout="heldout.jsonl",
                    scores=scores,
                    prompt="prompt.md" if prompt is not None else None,
                )
                made.add_suite(load_suite(suite, folder / "test_it.py", self.root))
        return made
