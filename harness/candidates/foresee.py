"""What preparing a candidate would take, counted without doing it: nothing is trained, loaded or sent.

``foresee`` dispatches on the candidate's type, as ``prepare`` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from harness.candidates.prepare import Lab, Prepared, prepare, shipped, training_rows
from harness.candidates.specs import Candidate, Tuned, Untuned
from harness.models.chat import load_tokenizer
from harness.models.remote import RemoteModel
from harness.training.local.recipe import training_fingerprint
from harness.training.local.tokens import encode_rows


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """One training, here or at a service.

    Args:
        artifact: its name in the store; two trainings of one name are one.
        rows: those trained on, general rows included.
        is_kept: the store has its end, and nothing is left to do.
        tokens: those to train on, epochs included, as far as can be told before; 0 where it is kept.
        most_tokens: their bound; None where nothing bounds them.
        problem: why a service would not begin it today, as far as is known without asking.
    """

    artifact: str
    rows: int
    is_kept: bool
    tokens: float = 0.0
    most_tokens: float | None = 0.0
    problem: str = ""


@dataclass(frozen=True)
class CostEstimate:
    """What ``prepare`` would give and take.

    Args:
        prepared: the candidate. One whose identity is not known yet (general rows that the base has yet to
            say, a model that a service has yet to make) has one that no answer is kept under.
        training: None for what is not trained.
        remote: the hosted model that answers, by the name that it is asked by; None for a local one.
    """

    prepared: Prepared
    training: TrainingEstimate | None = None
    remote: RemoteModel | None = None


@singledispatch
def foresee(candidate: Candidate, lab: Lab, size: int | None, seed: int) -> CostEstimate:
    """What ``prepare`` would give and take.

    Raises:
        DataError, ModelError, UsageError: as ``prepare`` would.
    """
    return CostEstimate(prepare(candidate, lab, size, seed))


@foresee.register
def _untuned(candidate: Untuned, lab: Lab, size: int | None, seed: int) -> CostEstimate:
    remote = candidate.model if isinstance(candidate.model, RemoteModel) else None
    return CostEstimate(prepare(candidate, lab, size, seed), remote=remote)


@foresee.register
def _tuned(candidate: Tuned, lab: Lab, size: int | None, seed: int) -> CostEstimate:
    source = lab.source(candidate)
    rows = training_rows(candidate, lab, size, seed, lab.known_replay(candidate))
    generated = lab.generated_rows(candidate)
    is_said = generated is None or generated.found() is not None
    # rows that are yet to be said are empty here: nothing is kept under the name that they make
    name = training_fingerprint(candidate.recipe(), source.digest, rows, seed, lab.plan())
    found = lab.adapters.find(name) if is_said else None
    prepared = shipped(candidate, lab, name, found)
    n = len(rows.own) + len(rows.replay)
    if found is not None:
        return CostEstimate(prepared, TrainingEstimate(name, n, is_kept=True))
    examples = encode_rows(load_tokenizer(source), (*rows.own, *rows.replay), candidate.max_tokens)
    tokens = sum(len(example.input_ids) for example in examples) * candidate.epochs
    return CostEstimate(prepared, TrainingEstimate(name, n, is_kept=False, tokens=tokens, most_tokens=tokens))
