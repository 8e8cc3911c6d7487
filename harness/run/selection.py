"""What a run is to try: candidates at their sizes and seeds, and what each is compared with."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.candidates.specs import Candidate
from harness.candidates.trained import Trained
from harness.errors import UnknownName, UsageError
from harness.settings import Settings


@dataclass(frozen=True)
class Arm:
    """One candidate at one size, with every seed it is trained with. What is not trained has neither."""

    name: str
    candidate: Candidate
    size: int | None = None
    seeds: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.name if self.size is None else f"{self.name}@{self.size}"

    @property
    def replicas(self) -> tuple[int | None, ...]:
        """Its seeds; one None for what is not trained."""
        return self.seeds or (None,)


class Selection:
    """The entries of a run.

    Args:
        settings: what was asked.
        candidates: every candidate that the project has, by name.
        count_rows: how many rows a training file has.
    """

    def __init__(
        self, settings: Settings, candidates: Mapping[str, Candidate], count_rows: Callable[[str], int]
    ) -> None:
        self._settings, self.candidates, self._count_rows = settings, dict(candidates), count_rows
        self._own_baselines: dict[str, Candidate] = {}

    def entries(self) -> tuple[Arm, ...]:
        """The candidates asked for, each at its sizes, smallest first."""
        return tuple(e for name in self.chosen() for e in self.sized(name))

    def chosen(self) -> tuple[str, ...]:
        """Names of the candidates asked for; a pattern may match several, and does not mean the baseline.

        Raises:
            UnknownName: nothing matches; lists what there is.
            UsageError: nothing but the baseline was asked for.
        """
        names = choose(self._settings.candidates, self.candidates)
        baseline = self._named_baseline()
        others = tuple(name for name in names if name != baseline)
        if names and not others:
            raise UsageError(
                f"--candidate and --baseline both say {baseline}: name another one to compare it with."
            )
        return others

    def _named_baseline(self) -> str | None:
        if self._settings.baseline is None:
            return None
        names = choose((self._settings.baseline,), self.candidates)
        if len(names) > 1:
            raise UsageError(f"--baseline={self._settings.baseline}: use one name of {', '.join(names)}.")
        return names[0]

    def sized(self, name: str) -> tuple[Arm, ...]:
        """One candidate at each of its sizes."""
        candidate = self.candidates[name]
        if not isinstance(candidate, Trained):
            return (Arm(name, candidate),)
        sizes: Sequence[int] = self._settings.sizes or (self._count_rows(candidate.train),)
        return tuple(Arm(name, candidate, size, self._settings.seeds) for size in sizes)

    def largest(self, name: str) -> int | None:
        """The size that is gated."""
        return self.sized(name)[-1].size

    def baseline_of(self, name: str) -> Arm:
        """What a candidate is compared with: the one asked for, or its own base with the full prompt."""
        named = self._named_baseline()
        if named is not None:
            return self.sized(named)[-1]
        own = self._own_baseline(name)
        last = Path(own.model_name).name
        label = f"prompted-{last}"
        # two bases may have one last name, and one base two decodings: they are two baselines
        bases = dict.fromkeys(self._own_baseline(other) for other in self.chosen())
        number = 1 + [base for base in bases if Path(base.model_name).name == last].index(own)
        return Arm(label if number == 1 else f"{label}-{number}", own)

    def _own_baseline(self, name: str) -> Candidate:
        if name not in self._own_baselines:
            self._own_baselines[name] = self.candidates[name].own_baseline()
        return self._own_baselines[name]

    def replicas(self) -> Iterator[tuple[Arm, int]]:
        """Every entry that is to be tried, the baselines among them, with each of its seeds; each once."""
        entries = (e for name in self.chosen() for e in (*self.sized(name), self.baseline_of(name)))
        for entry in dict.fromkeys(entries):
            for seed in entry.replicas:
                yield entry, seed or 0


def choose(patterns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Names that any pattern matches, in the patterns' order; underscores and hyphens are one.

    Raises:
        UnknownName: a pattern matches nothing.
    """
    known = list(names)
    found: dict[str, None] = {}
    for pattern in patterns:
        matches = [name for name in known if fnmatch.fnmatchcase(name, pattern.replace("_", "-"))]
        if not matches:
            raise UnknownName(
                "candidate",
                pattern,
                known,
                "A candidate is a function under @harness.candidate in conftest.py.",
            )
        found.update(dict.fromkeys(matches))
    return tuple(found)
