"""What a job tells: its hyperparameters as decided, its model's name, its events; why it failed."""

from __future__ import annotations

import csv
import io

from harness.data.hosted import service_epochs
from harness.records import Json
from harness.testing.fake_openai.backend import Step, Trained
from harness.testing.fake_openai.records import Hyperparameters, Job, JobError
from harness.testing.fake_openai.training_rows import BadFile

AUTO_BATCH_ROWS = 8
AUTO_LEARNING_RATE_MULTIPLIER = 1.0
RESULT_COLUMNS = (
    "step",
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
)


def tuned_name(job: Job) -> str:
    """The name under which a job's model answers."""
    return f"ft:{job.model}:twin:{(job.suffix or '').lower()}:{job.id[-8:]}"


def decided(asked: Hyperparameters, rows: int) -> Hyperparameters:
    """Hyperparameters with every "auto" decided.

    Epochs as OpenAI's cookbook has them; 8 rows a batch, or all where there are fewer; the learning rate
    of this package's own trainer.
    """
    epochs = service_epochs(rows) if asked.n_epochs == "auto" else asked.n_epochs
    batch = min(AUTO_BATCH_ROWS, rows) if asked.batch_size == "auto" else asked.batch_size
    rate = asked.learning_rate_multiplier
    return Hyperparameters(epochs, batch, AUTO_LEARNING_RATE_MULTIPLIER if rate == "auto" else rate)


def as_job_error(error: BadFile) -> JobError:
    """The error of a job whose file cannot be used."""
    if error.code == "invalid_file":
        code = f"invalid_{error.which}_file"
        message = f"The job failed due to an invalid {error.which} file. {error.message}"
        return JobError(code, message, f"{error.which}_file")
    return JobError(error.code, f"{error.which.capitalize()} file {error.message}", f"{error.which}_file")


def sentence(step: Step) -> str:
    """The message of a step's event."""
    told = f"Step {step.number}/{step.total}: training loss={step.train_loss:.2f}"
    if step.dev_loss is None:
        return told
    return f"{told}, validation loss={step.dev_loss:.2f}, full validation loss={step.dev_loss:.2f}"


def metrics(step: Step) -> dict[str, Json]:
    """The data of a step's event."""
    data: dict[str, Json] = {
        "step": step.number,
        "total_steps": step.total,
        "train_loss": step.train_loss,
        "train_mean_token_accuracy": step.train_accuracy,
    }
    if step.dev_loss is not None:
        data["valid_loss"] = data["full_valid_loss"] = step.dev_loss
        data["valid_mean_token_accuracy"] = step.dev_accuracy
        data["full_valid_mean_token_accuracy"] = step.dev_accuracy
    return data


def results_file(trained: Trained) -> bytes:
    """The results file: one line a step; what was not measured is left empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(RESULT_COLUMNS)
    for s in trained.steps:
        measured = (s.train_loss, s.train_accuracy, s.dev_loss, s.dev_accuracy)
        table.writerow([s.number, *("" if value is None else round(value, 5) for value in measured)])
    return text.getvalue().encode()
