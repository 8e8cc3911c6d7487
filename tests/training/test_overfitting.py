"""When development loss says that training went on too long."""

from __future__ import annotations

import pytest

from harness.records import TrainingPoint
from harness.training.local.trainer import overfitting


def point(epoch: float, loss: float | None, error: float | None = 0.1) -> TrainingPoint:
    return TrainingPoint(int(epoch * 10), epoch, 0.5, 0.9, loss, error, 0.8)


@pytest.mark.parametrize(
    ("points", "flagged"),
    [
        ([point(1, 1.0), point(2, 0.8), point(3, 0.7)], False),
        ([point(1, 1.0), point(2, 0.8), point(3, 0.89)], False),  # within its standard error
        ([point(1, 1.0), point(2, 0.8), point(3, 0.91)], True),
        ([point(1, 0.7), point(2, 0.8), point(3, 0.9)], True),
        ([point(1, 1.0)], False),
        ([], False),
        ([point(1, None, None), point(2, None, None)], False),
        ([point(1, 0.1, None), point(2, 0.9, None)], False),  # one development row: no error to judge by
    ],
)
def test_overfitting_is_an_end_above_the_minimum_by_more_than_its_error(
    points: list[TrainingPoint], flagged: bool
) -> None:
    assert (overfitting(points) is not None) == flagged


def test_the_overfitting_sentence_has_its_numbers() -> None:
    said = overfitting([point(1, 1.0), point(2, 0.8), point(3, 0.95)])
    assert said == (
        "development loss ended at 0.950 (standard error 0.100), above its minimum 0.800 at epoch 2.0:"
        " train for fewer epochs"
    )
