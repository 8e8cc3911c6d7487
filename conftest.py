"""This project's candidates, one fixture each."""

import harness
from harness import FewShot, LoRA, NebiusTuning, Prompted, QLoRA, Retrieval

pytest_plugins = ["harness.plugin"]

MODEL = "smollm2-135m"
TRAIN = "suites/support/train.jsonl"
DEV = "suites/support/dev.jsonl"
GENERAL = "suites/retention/replay.jsonl"
TICKET = "suites/support/ticket.schema.json"  # no side can give an answer of another shape
MLP = ("gate_proj", "up_proj", "down_proj")


@harness.candidate
def prompted():
    return Prompted(model=MODEL, schema=TICKET)


@harness.candidate
def few_shot_5():
    return FewShot(model=MODEL, train=TRAIN, shots=5, stratify="intent", schema=TICKET)


@harness.candidate
def nearest_5():
    return FewShot(model=MODEL, train=TRAIN, shots=5, nearest=True, schema=TICKET)


@harness.candidate
def handbook():
    return Retrieval(model=MODEL, docs="suites/support/handbook", schema=TICKET)


@harness.candidate
def qlora_r16():
    return QLoRA(
        base=MODEL,
        train=TRAIN,
        dev=DEV,
        replay=GENERAL,
        schema=TICKET,
        stratify="intent",
        # chosen on development rows (benchmarks/tune_recipe.py): the shortest training whose development loss
        # lies within a standard error of the best
        r=16,
        alpha=32,
        targets=MLP,
        learning_rate=3e-3,
        epochs=1,
        dev_evaluations=2,
    )


@harness.candidate
def no_replay():
    """A recipe that forgets: no general rows, and too many epochs."""
    return QLoRA(
        base=MODEL,
        train=TRAIN,
        dev=DEV,
        schema=TICKET,
        stratify="intent",
        r=16,
        alpha=32,
        targets=MLP,
        learning_rate=4e-3,
        epochs=6,
    )


@harness.candidate
def lora_r16():
    return LoRA(
        base=MODEL,
        train=TRAIN,
        dev=DEV,
        replay=GENERAL,
        schema=TICKET,
        stratify="intent",
        r=16,
        alpha=32,
        epochs=2,
    )


@harness.candidate
def nebius_8b():
    """A fine-tune at a service, which answers by the token. Only a rehearsal takes no NEBIUS_API_KEY."""
    return NebiusTuning(
        base="meta-llama/Llama-3.1-8B-Instruct",
        train=TRAIN,
        dev=DEV,
        stratify="intent",
        epochs=3,
        suffix="support",
        schema=TICKET,
    )
