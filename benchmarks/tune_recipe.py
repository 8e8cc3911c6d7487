"""Choose the worked example's recipe on development rows only.

    python benchmarks/tune_recipe.py 'epochs=2' 'epochs=3' --rows 400

Every recipe is trained on the same rows and answers the development rows of both suites; no held-out file is
opened. Prints one line a recipe; what was trained is kept under .harness and not trained again.
"""

from __future__ import annotations

import argparse
import ast
import time
from dataclasses import replace
from pathlib import Path

from harness.candidates.lora import QLoRA
from harness.data.rows import read_rows
from harness.data.subsets import nested_subsets
from harness.models.device import device_plan
from harness.models.local import LocalModel
from harness.models.progress import Silent, SilentBar
from harness.models.protocol import Decoding, Model, Prompt
from harness.models.source import resolve
from harness.records import Row, Score
from harness.scoring.checks import Contains, FieldMatch, score_all
from harness.scoring.json_schema import JsonSchema
from harness.store.adapters import AdapterStore
from harness.training.local.recipe import LocalTraining, load_trained, training_fingerprint
from harness.training.rows import TrainingRows

SUITES = Path(__file__).parent.parent / "suites"


def recipe(text: str) -> QLoRA:
    """``epochs=3,r=8`` as a candidate."""
    call = ast.parse(f"dict({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    fields = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    return QLoRA(base="smollm2-135m", train="train.jsonl", **fields)


def answers_scored(model: Model, rows: tuple[Row, ...], tokens: int) -> dict[str, str]:
    """Share of development rows that each check passes, with n."""
    prompts = [Prompt(row.id, row.prompt) for row in rows]
    by_id = {a.row_id: a for a in model.answer(prompts, Decoding(max_new_tokens=tokens), frozenset())}
    answers = [by_id[row.id] for row in rows]
    schema = JsonSchema("ticket.schema.json").bind(lambda name: (SUITES / "support" / name).read_text())
    checks = (schema, FieldMatch("intent")) if rows[0].text("intent") else (Contains("accept"),)
    return {c.name: f"{share(score_all(c, rows, answers)):.3f}" for c in checks}


def share(scores: tuple[Score, ...]) -> float:
    """Mean of scores that have a value."""
    values = [s.value for s in scores if s.value is not None]
    return sum(values) / len(values)


def main() -> None:
    """Train and measure every recipe named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--replay", type=int, default=90)
    arguments = parser.parse_args()
    train = read_rows(SUITES / "support" / "train.jsonl")
    dev = read_rows(SUITES / "support" / "dev.jsonl")
    general = read_rows(SUITES / "retention" / "dev.jsonl")
    replay = read_rows(SUITES / "retention" / "replay.jsonl")[: arguments.replay]
    own = nested_subsets(train, [arguments.rows], 0, "intent")[arguments.rows]
    source, plan = resolve("smollm2-135m", Silent()), device_plan()
    store = AdapterStore(Path(".harness/adapters"))
    base = LocalModel.load(source, plan)
    print(f"untuned base | retention {answers_scored(base, general, 48)}, n={len(general)}", flush=True)
    for text in arguments.recipes:
        spec = recipe(text)
        began = time.perf_counter()
        rows = TrainingRows(own, replay, dev)
        name = training_fingerprint(spec.recipe(), source.digest, rows, 0, plan)
        folder = store.folder(name)
        training = LocalTraining(spec.recipe(), source, rows, 0, plan, name, folder)
        made = store.get_or_train(name, lambda into, job=training: replace(job, folder=into)(SilentBar()))  # type: ignore[misc]  # mypy infers no lambda's default
        model = load_trained(spec.recipe(), "adapter", source, folder, plan, store)
        support, kept = answers_scored(model, dev, 96), answers_scored(model, general, 48)
        last = made.points[-1]
        cells = (
            f"{text}, {arguments.rows} rows",
            f"{made.tokens_per_second:.0f} tok/s, {made.seconds:.0f} s",
            f"dev loss {last.dev_loss:.3f} ± {last.dev_loss_se:.3f}",
            f"support {support}, n={len(dev)}",
            f"retention {kept}, n={len(general)}",
            f"{time.perf_counter() - began:.0f} s in all",
        )
        print(" | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
