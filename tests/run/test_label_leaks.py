"""Labels of judges are kept out of what candidates learn, and labels of held-out rows are told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from harness import LikelihoodJudge, Pairwise, Panel, RemoteModel, Suite
from harness.errors import LeakError
from harness.records import Message, Row
from harness.run.label_leaks import heldout_notes, training_notes
from harness.run.suite_loading import LoadedSuite, load_suite
from harness.training.rows import TrainingData

ASKED = [
    "the radiator in the northern bedroom whistles every morning at about six",
    "my invoice from last month shows a line that nobody ordered at all",
    "could you please move the delivery of my kitchen table to next friday",
    "since the update the app closes as soon as I open the second tab",
]
SAID = "Radiator in a bedroom whistles in the morning, since the last service"
SHORT = LikelihoodJudge(field="summary", labels="labels.jsonl")


def row(at: int, asked: str, reply: str, file: str = "train.jsonl") -> Row:
    return Row(f"row-{at}", (Message("user", asked), Message("assistant", reply)), {}, f"{file}:{at}")


def loaded(folder: Path, judge: object, labels: list[dict[str, str]], **more: object) -> LoadedSuite:
    (folder / "labels.jsonl").write_text("\n" + "\n".join(map(json.dumps, labels)), "utf-8")
    held = [{"prompt": asked, "completion": '{"summary": "x"}'} for asked in ASKED[2:]]
    (folder / "heldout.jsonl").write_text("\n".join(map(json.dumps, held)), "utf-8")
    suite = Suite(heldout="heldout.jsonl", scores=(judge,), **more)  # type: ignore[arg-type]
    return load_suite(suite, folder / "test_it.py", folder)


def label(asked: str, summary: str, label: str = "good") -> dict[str, str]:
    return {"message": asked, "reference": "A reference", "summary": summary, "label": label}


LABELS = [label(ASKED[0], SAID), label(ASKED[1], "Nobody ordered a line of an invoice", "bad")]


@pytest.mark.parametrize("learnt", ["train", "general", "dev"])
def test_a_labelled_reply_is_not_learnt(tmp_path: Path, learnt: str) -> None:
    reply = json.dumps({"intent": "heating", "summary": SAID.replace("whistles", "is whistling")})
    first = TrainingData((row(1, "hello there", "hi"),))
    data = dataclasses.replace(first, **{learnt: (row(7, f"{ASKED[0]}!!", reply),)})  # type: ignore[arg-type]
    with pytest.raises(LeakError, match=r"labels of the judge summary") as error:
        list(training_notes(data, loaded(tmp_path, SHORT, LABELS)))
    assert "train.jsonl:7 ~ labels.jsonl:2" in str(error.value)
    for accepted in (("labels.jsonl:2",), "warn"):
        suite = loaded(tmp_path, SHORT, LABELS, leaks=accepted)
        told = list(training_notes(data, suite))
        assert bool(told) == (accepted == "warn")


def test_a_labelled_message_with_another_reply_is_told(tmp_path: Path) -> None:
    data = TrainingData((row(7, ASKED[1].upper(), '{"summary": "Asks about a charge"}'),))
    panel = Panel((SHORT, LikelihoodJudge(field="summary", labels="labels.jsonl", name="again")))
    (told,) = training_notes(data, loaded(tmp_path, panel, LABELS))
    assert "1 label, such as train.jsonl:7 ~ labels.jsonl:3" in told
    assert not list(training_notes(TrainingData((row(1, ASKED[2], "x"),)), loaded(tmp_path, SHORT, LABELS)))


def test_either_reply_of_a_pair_counts(tmp_path: Path) -> None:
    judge = Pairwise(RemoteModel("m"), "The better one is shorter.", labels="labels.jsonl")
    pairs = [{"message": ASKED[0], "first": "Ring us", "second": SAID, "label": "second"}]
    with pytest.raises(LeakError, match=r"train\.jsonl:3 ~ labels\.jsonl:2"):
        list(training_notes(TrainingData((row(3, ASKED[0], SAID),)), loaded(tmp_path, judge, pairs)))


def test_labels_of_replies_to_heldout_rows_are_told(tmp_path: Path) -> None:
    (told,) = heldout_notes(loaded(tmp_path, SHORT, [*LABELS, label(f"{ASKED[2]} please", "A table")]))
    assert "(1 label, such as " in told
    assert "heldout.jsonl:1 ~ labels.jsonl:4)" in told
    assert not list(heldout_notes(loaded(tmp_path, SHORT, LABELS)))
