"""Heads fitted on labels such that no label trains the head that it tests.

Labels are laid into folds by their group, and a head is fitted without each fold: a logistic regression with
an L2 penalty on standardised features. Penalty and threshold are chosen by a cross-fit within the labels that
the head may see (nested, Varma and Simon 2006). All of it is done ``REPEATS`` times with other folds. The
mean of all heads' log-odds judges what is new; labelled groups are judged by those that never saw them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Places = npt.NDArray[np.intp]

FOLDS, REPEATS = 5, 5
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
ANCHOR_WEIGHT = 0.25  # of all anchors together, as a share of the weight of all good labels


@dataclass(frozen=True)
class Head:
    """log-odds = (features - centre) / scale · weights + intercept; 0 is the threshold."""

    centre: Numbers
    scale: Numbers
    weights: Numbers
    intercept: float

    def log_odds(self, features: Numbers) -> Numbers:
        """Of each row of features being good."""
        return np.asarray((features - self.centre) / self.scale @ self.weights + self.intercept)


@dataclass(frozen=True)
class CrossFitted:
    """Heads, and for each group those that never saw it."""

    heads: tuple[Head, ...]
    unseen_by: Mapping[str, tuple[Head, ...]]

    def log_odds(self, features: Numbers, groups: Sequence[str]) -> Numbers:
        """The mean of the heads that never saw the row's group: of a group that is not labelled, of all."""
        found = np.zeros(len(features))
        of: dict[str, list[int]] = {}
        for at, group in enumerate(groups):
            of.setdefault(group if group in self.unseen_by else "", []).append(at)
        for group, places in of.items():
            heads = self.unseen_by.get(group, self.heads)
            found[places] = np.mean([head.log_odds(features[places]) for head in heads], axis=0)
        return found


@dataclass(frozen=True)
class Labelled:
    """What heads are fitted on: features of labelled replies, and of ``anchors``, good by definition.

    Anchors are the references themselves, given as replies. Labelled good replies may differ from bad ones in
    how they were written; without anchors a head learns that, and may call the reference itself bad.
    """

    features: Numbers  # of shape (labels, features)
    good: Flags
    groups: Sequence[str]
    kinds: Sequence[str]  # folds are even in them
    anchors: Numbers  # of the same shape as ``features``: that of each label's reference


def cross_fit(labelled: Labelled, seed: int) -> CrossFitted:
    """Heads of ``REPEATS`` times ``FOLDS`` folds; the same in any order of the labels."""
    keys = [(group, tuple(row)) for group, row in zip(labelled.groups, labelled.features, strict=True)]
    order = sorted(range(len(keys)), key=lambda at: (keys[at], labelled.good[at]))  # sums depend on it
    labelled = Labelled(
        labelled.features[order],
        labelled.good[order],
        [labelled.groups[at] for at in order],
        [labelled.kinds[at] for at in order],
        labelled.anchors[order],
    )
    heads: list[Head] = []
    unseen: dict[str, list[Head]] = {group: [] for group in labelled.groups}
    for repeat in range(REPEATS):
        fold = folds(labelled, f"{seed}/{repeat}")
        for k in range(FOLDS):
            head = _fitted(labelled, np.flatnonzero(fold != k), fold)
            heads.append(head)
            for group in {labelled.groups[at] for at in np.flatnonzero(fold == k).tolist()}:
                unseen[group].append(head)
    return CrossFitted(tuple(heads), {group: tuple(of) for group, of in unseen.items()})


def folds(labelled: Labelled, salt: str) -> Places:
    """The fold of each label: whole groups, even in what is good and in kinds."""
    first: dict[str, int] = {}
    for at, group in enumerate(labelled.groups):
        first.setdefault(group, at)

    def place(group: str) -> tuple[bool, str, str]:
        at = first[group]
        return bool(labelled.good[at]), labelled.kinds[at], sha256(f"{salt}/{group}".encode()).hexdigest()

    of = {group: turn % FOLDS for turn, group in enumerate(sorted(first, key=place))}
    return np.array([of[group] for group in labelled.groups], dtype=np.intp)


def _fitted(labelled: Labelled, train: Places, fold: Places) -> Head:
    """A head that has seen ``train``; penalty and threshold from a cross-fit of its folds."""
    good = labelled.good[train]
    best, penalty, out_of_fold = np.inf, PENALTIES[-1], np.zeros(len(train))
    for each in PENALTIES:
        found = np.zeros(len(train))
        for k in np.unique(fold[train]):
            held = fold[train] == k
            inner = train[~held]
            if 0 < labelled.good[inner].sum() < len(inner):
                found[held] = _regression(labelled, inner, each).log_odds(labelled.features[train[held]])
        loss = float(np.sum(np.logaddexp(0, found) - good * found))
        if loss < best:
            best, penalty, out_of_fold = loss, each, found
    head = _regression(labelled, train, penalty)
    return Head(head.centre, head.scale, head.weights, head.intercept - _threshold(out_of_fold, good))


def _threshold(log_odds: Numbers, good: Flags) -> float:
    """Where the lower one of TPR and TNR is highest."""
    values = np.unique(log_odds)
    if len(values) < 2:
        return 0.0
    cuts = (values[1:] + values[:-1]) / 2
    tpr = (log_odds[good][:, None] >= cuts).mean(axis=0)
    tnr = (log_odds[~good][:, None] < cuts).mean(axis=0)
    return float(cuts[np.argmax(np.minimum(tpr, tnr))])


def _regression(labelled: Labelled, train: Places, penalty: float) -> Head:
    """Good and bad labels weigh the same, whatever their numbers; Newton's method."""
    features, good = labelled.features[train], labelled.good[train]
    centre, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    n, n_good = len(train), int(good.sum())
    weights = n / 2 / max(1, n_good), n / 2 / max(1, n - n_good)
    z = (np.concatenate([features, labelled.anchors[train]]) - centre) / scale
    x = np.column_stack([np.ones(2 * n), z])
    target = np.concatenate([good, np.ones(n)])
    weight = np.concatenate([np.where(good, *weights), np.full(n, ANCHOR_WEIGHT / 2)])
    ridge = np.array([1e-6, *[penalty] * features.shape[1]])  # the intercept is free
    beta = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        gradient = x.T @ (weight * (p - target)) + ridge * beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if np.abs(step).max() < 1e-9:
            break
    return Head(centre, scale, beta[1:], float(beta[0]))
