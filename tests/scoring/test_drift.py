"""Whether a judge has moved: the same labelled replies, graded then and now."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Admission, Rate
from harness.scoring.drift import LEVEL, MOST_ANCHORS, after, anchors_of, compared, digest_of, sign_flip_p
from harness.scoring.judge import LikelihoodJudge
from harness.scoring.labels import Label

RATE = Rate(1.0, 0.8, 1.0, 30)
ADMITTED = Admission("clear", True, RATE, RATE, RATE, 0.5, 30, 30, ())


def labels(n: int, good: int = 2) -> tuple[Label, ...]:
    return tuple(Label(f"m{k}", f"r{k}", f"reply {k}", k % good == 0) for k in range(n))


def judge(known: tuple[Label, ...], field: str | None = None) -> LikelihoodJudge:
    return LikelihoodJudge(field, labels="x", known=known)


# --------------------------------------------------------------------------- the test
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_it_counts_all_signs(differences: list[int]) -> None:
    sums = [
        sum(sign * size for sign, size in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    far = sum(abs(one) >= abs(sum(differences)) for one in sums)
    assert sign_flip_p(differences) == pytest.approx(far / len(sums))


def test_it_agrees_with_scipys_permutation_test() -> None:
    import numpy as np
    from scipy.stats import permutation_test

    differences = [-250, -250, 0, -500, 250, -250, -250, 0, -250, -750, -250, 0]
    theirs = permutation_test(
        (np.array(differences, dtype=float),),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        n_resamples=2 ** len(differences),
    )
    assert sign_flip_p(differences) == pytest.approx(theirs.pvalue)


def test_eight_of_twenty_in_one_direction_are_beyond_noise_and_seven_are_not() -> None:
    assert sign_flip_p([-250] * 8 + [0] * 12) <= LEVEL
    assert sign_flip_p([-250] * 7 + [0] * 13) > LEVEL
    assert sign_flip_p([250, -250] * 10) == 1.0
    assert sign_flip_p([0] * 20) == 1.0


# --------------------------------------------------------------------------- comparing
ANCHORS = anchors_of(judge(labels(20)))


def scores(*values: float) -> dict[str, float]:
    """Of the anchors, the good ones first."""
    order = sorted(ANCHORS, key=lambda anchor: not anchor.good)
    return {anchor.key: value for anchor, value in zip(order, values, strict=False)}


def test_a_shift_withdraws_the_vote_and_says_how_far_since_when_and_what_to_do() -> None:
    moved = compared(ANCHORS, scores(*[1.0, 0.5] * 10), scores(*[0.75, 0.25] * 10), "2026-11-20T09:00:00")
    assert (moved.moved, moved.n, moved.shift) == (True, 20, -0.25)
    withdrawn = after(ADMITTED, moved)
    assert not withdrawn.admitted
    (reason,) = withdrawn.reasons
    for word in ("-25 points (-25 to -25, n=20)", "since 2026-11-20", "good replies by -25", "--fresh"):
        assert word in reason


def test_a_judge_that_now_calls_everything_middling_has_moved_though_its_mean_has_not() -> None:
    now = compared(ANCHORS, scores(*[1.0] * 10, *[0.0] * 10), scores(*[0.5] * 20))
    assert (now.shift, now.good_shift, now.bad_shift, now.moved) == (0.0, -0.5, 0.5, True)


def test_noise_and_no_change_leave_it_its_vote() -> None:
    before = scores(*[1.0, 0.0] * 10)
    for now in (before, scores(*[0.75, 0.25] * 10), scores(0.75, *[1.0, 0.0] * 9, 0.0)):
        found = after(ADMITTED, compared(ANCHORS, before, now))
        assert found.admitted
        assert found.anchors is not None
        assert found.anchors.mean == pytest.approx(sum(now.values()) / len(now))


def test_too_few_judgments_are_said_and_move_nothing() -> None:
    found = compared(ANCHORS, scores(*[1.0] * 20), scores(*[0.0] * 7))
    assert (found.moved, found.shift) == (False, None)
    assert "only 7 anchors" in found.why


# --------------------------------------------------------------------------- which
def test_they_are_forty_half_good_and_half_bad_whatever_the_files_order() -> None:
    known = labels(200, good=5)
    found = anchors_of(judge(known))
    assert found == anchors_of(judge(known[::-1]))
    assert len(found) == MOST_ANCHORS
    good = {label.reply for label in known if label.good}
    assert sum(anchor.answer.text in good for anchor in found) == MOST_ANCHORS // 2
    assert digest_of(found) == digest_of(found[::-1])


def test_labels_that_are_added_leave_most_of_them() -> None:
    known = labels(200)
    before, now = ({anchor.key for anchor in anchors_of(judge(known[:n]))} for n in (180, 200))
    assert len(before & now) >= 30


def test_copies_count_once_and_few_labels_are_all_taken() -> None:
    assert len(anchors_of(judge(labels(12) * 2))) == 12
    assert len(anchors_of(judge(labels(80, good=20)))) == MOST_ANCHORS
    assert anchors_of(replace(judge(()), known=None)) == ()
    assert anchors_of(object()) == ()


def test_they_are_written_as_the_suites_answers_are() -> None:
    (anchor,) = anchors_of(judge((Label("m", "ünder", 'say "so"', True),), "summary"))
    assert anchor.answer.text == '{"summary": "say \\"so\\""}'
    assert (anchor.row.reference, anchor.row.question) == ('{"summary": "ünder"}', "m")
