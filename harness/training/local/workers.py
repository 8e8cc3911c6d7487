"""Parts of a batch on threads of their own, with the same numbers on one core as on two. Imports torch.

Two threads that share every matrix product of a small batch wait for each other, and its activations fit into
no core's cache. Here each takes other rows. What a part computes does not depend on who computes the others,
and their gradients are added in the order of the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

WORKERS = 2
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """At most ``WORKERS`` threads, each with its share of the cores for its products."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._draws = True  # whether a part draws random numbers (dropout); found out on the first batch

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results in the order of the items."""
        return list(self._pool.map(work, items))

    def map_drawing(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The same, one after another where they draw: else chance would decide who draws first."""
        if not self._draws:
            return self.map(work, items)
        before = torch.get_rng_state()
        made = [self._pool.submit(work, item).result() for item in items]
        self._draws = not torch.equal(before, torch.get_rng_state())
        return made


@contextmanager
def workers() -> Iterator[Workers]:
    """Threads that share the cores which torch has."""
    cores = torch.get_num_threads()
    share = max(1, cores // WORKERS)
    with ThreadPoolExecutor(min(WORKERS, cores), "training", torch.set_num_threads, (share,)) as pool:
        torch.set_num_threads(share)  # the caller's helpers would wait by spinning
        try:
            yield Workers(pool)
        finally:
            torch.set_num_threads(cores)  # what threads set may hold for the process
