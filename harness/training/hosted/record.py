"""How a model that was tuned at a service came to be, as far as the service tells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.data.fingerprints import rows_fingerprint
from harness.data.hosted import DEFAULT_ENCODING, hosted_counter, hosted_model, service_epochs
from harness.records import Row, Training
from harness.training.hosted.protocol import Tuned
from harness.training.hosted.results import Metrics, training_points
from harness.training.hosted.spec import OpenAITuning
from harness.training.local.recipe import TrainingRows

NOTED_RISE = 1.02  # a validation loss this much above its minimum is told


def training_record(
    candidate: OpenAITuning, rows: TrainingRows, artifact: str, tuned: Tuned, url: str
) -> Training:
    """How the model came to be, as far as the service tells.

    ``tokens`` are the billed tokens (``trained_tokens``) of one epoch; where the service does not bill by
    tokens they are counted here, as ``supervised_tokens`` always are. ``seconds`` include the queue.
    """
    from importlib.metadata import version

    job, sent = tuned.job, (*rows.own, *rows.replay)
    epochs = _epochs(candidate, tuned, len(sent))
    known = hosted_model(candidate.base)
    encoding = known.encoding if known else DEFAULT_ENCODING
    tokens = job.trained_tokens
    a_epoch = round(tokens / epochs) if tokens else sum(hosted_counter(encoding)(sent))
    seconds = float(max(0, job.finished - job.created)) if job.finished else 0.0
    counted = "billed by the service" if tokens else f"counted with {encoding}"
    return Training(
        fingerprint=artifact,
        rows=len(rows.own),
        replay_rows=len(rows.replay),
        epochs=epochs,
        steps=_steps(tuned, len(sent), epochs),
        tokens=a_epoch,
        supervised_tokens=_supervised(sent, encoding),
        seconds=seconds,
        tokens_per_second=a_epoch * epochs / seconds if seconds else 0.0,
        points=training_points(tuned.metrics, epochs),
        overfitting=_rise(tuned.metrics),
        device=f"hosted: {job.id} at {url}",
        numeric_config=f"the service's own; tokens {counted}, queue included in the time",
        row_ids=tuple(row.id for row in rows.own),
        versions={"openai": version("openai")},
        row_digest=rows_fingerprint(rows.own),
    )


def _epochs(candidate: OpenAITuning, tuned: Tuned, rows: int) -> float:
    said = tuned.job.hyperparameters.get("n_epochs")
    if isinstance(said, int | float) and not isinstance(said, bool) and said > 0:
        return float(said)
    return float(service_epochs(rows)) if candidate.epochs == "auto" else float(candidate.epochs)


def _steps(tuned: Tuned, rows: int, epochs: float) -> int:
    seen = [item.step for item in tuned.metrics] + [item.total or 0 for item in tuned.metrics]
    seen += [checkpoint.step for checkpoint in tuned.checkpoints]
    if seen:
        return max(seen)
    batch = tuned.job.hyperparameters.get("batch_size")
    return math.ceil(rows / batch) * round(epochs) if isinstance(batch, int) and batch > 0 else 0


def _supervised(rows: Sequence[Row], encoding: str) -> int:
    import bpe_openai

    encode = bpe_openai.get_encoding(encoding).encode_ordinary
    return sum(
        len(encode(m.content)) for row in rows for m in row.messages if m.role == "assistant" and m.weight
    )


def _rise(metrics: Sequence[Metrics]) -> str | None:
    """A sentence where the loss over all validation rows ended above its minimum."""
    whole = [(item.full_loss, item.step) for item in metrics if item.full_loss is not None]
    if len(whole) < 2:
        return None
    (least, step), (last, _) = min(whole), whole[-1]
    if last <= least * NOTED_RISE:
        return None
    return (
        f"validation loss ended at {last:.3f}, above its minimum {least:.3f} at step {step} (without a"
        " standard error): train for fewer epochs, or use checkpoint='best'"
    )
