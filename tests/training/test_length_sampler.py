"""Batches of rows of like length: every row once an epoch, little padding, another order each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.training.local.batches import LengthSampler, parts


@given(st.lists(st.integers(1, 300), min_size=1, max_size=120), st.integers(1, 16), st.integers(0, 2**31 - 1))
def test_every_epoch_covers_every_row_once(lengths: list[int], batch_rows: int, seed: int) -> None:
    sampler = LengthSampler(lengths, batch_rows, seed)
    assert len(sampler) == len(lengths)
    for _ in range(2):
        assert sorted(sampler) == list(range(len(lengths)))


def batches(order: Sequence[int], batch_rows: int) -> list[list[int]]:
    return [list(order[k : k + batch_rows]) for k in range(0, len(order), batch_rows)]


def test_epochs_differ_and_follow_the_seed() -> None:
    lengths = [10 + k % 50 for k in range(100)]
    sampler = LengthSampler(lengths, 8, 3)
    first, second = list(sampler), list(sampler)
    assert first != second
    again = LengthSampler(lengths, 8, 3)
    assert [list(again), list(again)] == [first, second]
    assert list(LengthSampler(lengths, 8, 4)) != first


def test_little_is_padded_and_a_short_batch_comes_last() -> None:
    lengths = np.random.default_rng(0).lognormal(4, 0.5, 202).astype(int).tolist()
    for _ in range(5):
        cut = batches(list(LengthSampler(lengths, 8, 1)), 8)
        assert [len(batch) for batch in cut] == [8] * 25 + [2]
        padded = sum(len(batch) * max(lengths[k] for k in batch) for batch in cut)
        assert 1 - sum(lengths) / padded < 0.15


def test_every_batch_holds_rows_of_like_length_though_the_last_is_short() -> None:
    """A short batch anywhere but at the end would shift all that follow across two groups."""
    lengths = [round(10 * 1.04**k) for k in range(202)]
    for seed in range(5):
        for batch in batches(list(LengthSampler(lengths, 8, seed)), 8):
            own = [lengths[k] for k in batch]
            assert max(own) < 2.5 * min(own)


def test_batches_come_in_no_order_of_length() -> None:
    lengths = list(range(10, 410))
    means = [np.mean([lengths[k] for k in batch]) for batch in batches(list(LengthSampler(lengths, 8, 1)), 8)]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.5


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 200))
def test_parts_hold_every_token_once_and_keep_to_their_limit(lengths: list[int], limit: int) -> None:
    width = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (width - n) for n in lengths])
    ids = torch.arange(mask.numel()).view(mask.shape) + 1
    seen: list[int] = []
    for part in parts({"input_ids": ids, "attention_mask": mask}, limit):
        rows, columns = part["input_ids"].shape
        assert rows == 1 or rows * columns <= limit
        assert int(part["attention_mask"].sum(dim=1).max()) == columns, "no column is padding alone"
        seen += part["input_ids"][part["attention_mask"] == 1].tolist()
    assert sorted(seen) == sorted(ids[mask == 1].tolist())
