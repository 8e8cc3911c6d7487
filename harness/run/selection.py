"""The candidates of a run: at which sizes and seeds each is tried, and what each is compared with."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.atomic import what_is_at
from harness.candidates.base import Candidate, Variant
from harness.candidates.guarded import guarded
from harness.candidates.lab import Lab
from harness.errors import CandidateError, UnknownName, UsageError
from harness.settings import Settings

HOW_TO_DEFINE = "A candidate is a function under @harness.candidate in conftest.py."


@dataclass(frozen=True)
class Definition:
    """A candidate and the place that defines it.

    Args:
        name: of its function, with hyphens.
        candidate: what the function returned.
        folder: its conftest's, which its paths start from and which tells it from others of its name.
        where: ``file:line``, relative to the project's root.
        overrides: whether it takes the place of one of the same name that is defined further out.
        paths_from: where its paths start instead of its folder: it is made from that outer one.
    """

    name: str
    candidate: Candidate
    folder: Path
    where: str = ""
    overrides: bool = False
    paths_from: Path | None = None


@dataclass(frozen=True)
class Arm:
    """One candidate at one size, with every seed that it is trained with. An untrained one has neither."""

    name: str
    candidate: Candidate
    size: int | None = None
    seeds: tuple[int, ...] = ()
    folder: Path = field(default=Path(), compare=False)

    @property
    def label(self) -> str:
        """``name`` or ``name@size``."""
        return self.name if self.size is None else f"{self.name}@{self.size}"

    @property
    def replicas(self) -> tuple[int | None, ...]:
        """Its seeds; one None for an untrained candidate."""
        return self.seeds or (None,)

    def variant(self, seed: int | None) -> Variant:
        """The candidate at one of its seeds."""
        return Variant(self.name, self.candidate, self.size, seed)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """One for each seed."""
        return tuple(map(self.variant, self.replicas))


class Selection:
    """Collects what a run tries, test by test, because candidates are scoped to the folder that defines them.

    Args:
        settings: patterns of names, the baseline, sizes and seeds.
        lab: reads training rows, to know how many there are.
        adapt: applied to every candidate, own baselines included.
    """

    def __init__(
        self,
        settings: Settings,
        lab: Lab,
        adapt: Callable[[Candidate], Candidate] = lambda candidate: candidate,
    ) -> None:
        self._settings, self._lab, self._adapt = settings, lab, adapt
        self._names: dict[tuple[str, str, Candidate], str] = {}  # the run's name of each definition
        self._arms: dict[str, tuple[Arm, ...]] = {}
        self._chosen: dict[str, None] = {}
        self._baselines: dict[str, Arm] = {}
        self._without: dict[str, UsageError] = {}  # rungs of a ladder that have no baseline of their own
        self._unmatched = dict.fromkeys(settings.candidates)

    def choose(self, visible: Mapping[str, Definition], known: Iterable[str] = ()) -> tuple[Arm, ...]:
        """The arms of a test, each candidate at its sizes, smallest first.

        Args:
            visible: the definitions that the test sees, those at least that a pattern matches.
            known: names of all that it sees, for messages.

        Raises:
            UsageError: nothing but the baseline is chosen, or a candidate would be compared with two
                different baselines of one name.
        """
        names = match_names(self._settings.candidates, visible)
        if not names:  # a baseline need not be visible where no candidate is
            return ()
        baseline = self._visible_baseline(visible, known)
        self._unmatched = {p: None for p in self._unmatched if not match_names((p,), visible)}
        is_rung = self._settings.ladder is not None  # there the baseline may be one
        others = [name for name in names if baseline is None or is_rung or name != baseline.name]
        if not others:
            raise UsageError(
                f"--candidate and --baseline both say {names[0]}: name another one to compare it with."
            )
        found: list[Arm] = []
        for definition in (visible[name] for name in others):
            arms = self._register(definition)
            self._chosen[arms[0].name] = None
            self._compare(arms[0], baseline)
            found += arms
        return tuple(found)

    def require_matches(self, known: Iterable[str]) -> None:
        """Check, once every test has been collected, that each pattern matched for some test.

        Raises:
            UnknownName: lists the candidates that there are.
        """
        for pattern in self._unmatched:
            raise UnknownName("candidate", pattern, sorted(known), HOW_TO_DEFINE)

    def chosen(self) -> tuple[str, ...]:
        """Names of the candidates that are tried, without the baseline."""
        is_ladder = self._settings.ladder is not None
        return tuple(name for name in self._chosen if not is_ladder or self.is_compared(name))

    def rungs(self) -> tuple[str, ...]:
        """Those names, and the baseline's where it is among the candidates of a ladder."""
        return tuple(self._chosen)

    def leave_out(self, name: str) -> None:
        """Try a rung of a ladder no more."""
        del self._chosen[name]

    def share_baseline(self, order: Sequence[str]) -> list[str]:
        """Compare all rungs of a ladder with one baseline; the names of those that have another of their own.

        A rung that is the own baseline of others is what they are compared with.

        Args:
            order: their names, the cheapest first.

        Raises:
            UsageError: none of them has a baseline of its own.
        """
        own = {name: self._as_rung(self._baselines[name]) for name in order if name in self._baselines}
        if not own:
            raise next(iter(self._without.values()))
        shared = next((arm for name, arm in own.items() if arm.name == name), next(iter(own.values())))
        others = [name for name in order if own.get(name) != shared]
        self._baselines |= dict.fromkeys(order, shared)
        return others

    def _as_rung(self, baseline: Arm) -> Arm:
        """The candidate that a baseline is, where it is one."""
        for name in self._chosen:
            arm = self.sized(name)[-1]
            is_there = arm.folder == baseline.folder or not what_is_at(arm.folder / arm.candidate.model_name)
            if arm.candidate == baseline.candidate and not arm.seeds and is_there:
                return arm
        return baseline

    def candidate(self, name: str) -> Candidate:
        """The candidate of that name in this run, a baseline's included."""
        return self.sized(name)[-1].candidate

    def sized(self, name: str) -> tuple[Arm, ...]:
        """One candidate at each of its sizes, ascending."""
        return self._arms[name]

    def largest(self, name: str) -> int | None:
        """The size that is gated."""
        return self._arms[name][-1].size

    def baseline_of(self, name: str) -> Arm:
        """What a candidate is compared with: the one asked for, or its own base with the full prompt."""
        return self._baselines[name]

    def is_compared(self, name: str) -> bool:
        """Whether it is a candidate that has a baseline, rather than being one."""
        return name in self._baselines and self._baselines[name].name != name

    def arms(self) -> tuple[Arm, ...]:
        """Everything that is to be tried, the baselines among them; each once."""
        every = (arm for name in self._chosen for arm in (*self.sized(name), self.baseline_of(name)))
        return tuple(dict.fromkeys(every))

    def variants(self) -> Iterator[tuple[Arm, Variant]]:
        """Every arm with each of its variants."""
        for arm in self.arms():
            for variant in arm.variants:
                yield arm, variant

    def _visible_baseline(self, visible: Mapping[str, Definition], known: Iterable[str]) -> Definition | None:
        wanted = self._settings.baseline
        if wanted is None:
            return None
        names = match_names((wanted,), visible)
        if not names:
            raise UnknownName("candidate", wanted, sorted({*known, *visible}), HOW_TO_DEFINE)
        if len(names) > 1:
            raise UsageError(f"--baseline={wanted}: use one name of {', '.join(names)}.")
        return visible[names[0]]

    def _register(self, definition: Definition) -> tuple[Arm, ...]:
        """The arms of a definition. One that overrides another is called after its folder as well."""
        # two conftests may import one function, and it may give each another candidate
        place = definition.name, definition.where, definition.candidate
        if place not in self._names:
            name = definition.name
            if definition.overrides or name in self._arms:
                name = f"{self._lab.relative(definition.folder)}:{name}"
            stem, number = name, 1
            while name in self._arms:  # classes and modules of one folder
                number += 1
                name = f"{stem}-{number}"
            self._names[place] = name
            self._arms[name] = self._at_sizes(name, definition)
        return self._arms[self._names[place]]

    def _at_sizes(self, name: str, definition: Definition) -> tuple[Arm, ...]:
        held = guarded(definition.candidate, name, definition.where)
        candidate, folder = self._adapt(held), definition.paths_from or definition.folder
        data = candidate.data(self._lab.at(folder))
        if data is None or not data.is_trained:
            return (Arm(name, candidate, folder=folder),)
        sizes = self._settings.sizes or (len(data.train),)
        return tuple(Arm(name, candidate, size, self._settings.seeds, folder) for size in sizes)

    def _compare(self, arm: Arm, named: Definition | None) -> None:
        """Note what a candidate is compared with; one candidate has one baseline in all suites."""
        try:
            baseline = self._register(named)[-1] if named is not None else self._own_baseline(arm)
        except UsageError as error:
            if self._settings.ladder is None or isinstance(error, CandidateError):
                raise
            self._without[arm.name] = error  # it may be compared with another rung's
            return
        before = self._baselines.setdefault(arm.name, baseline)
        if before != baseline:
            raise UsageError(
                f"{arm.name} would be compared with two different candidates that are called"
                f" {self._settings.baseline}: {before.label} and {baseline.label}.\n"
                "  hint: give them different names, or run the suites apart."
            )

    def _own_baseline(self, arm: Arm) -> Arm:
        if arm.name in self._baselines:
            return self._baselines[arm.name]
        own = self._adapt(arm.candidate.own_baseline())
        stem = f"prompted-{Path(own.model_name).name}"
        # only a path means another model in another folder
        folder = arm.folder if what_is_at(arm.folder / own.model_name) else self._lab.root
        # two bases may share a last name, and one base may be asked with two decodings: two baselines
        number = 1
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            made = Arm(name, own, folder=folder)
            there = self._arms.setdefault(name, (made,))[-1]
            if there == made and there.folder == folder:
                return there
            number += 1


def match_names(patterns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Names that any pattern matches, in the patterns' order; underscores and hyphens are one."""
    known = list(names)
    found: dict[str, None] = {}
    for pattern in (p.replace("_", "-") for p in patterns):
        # a parameter's name may hold brackets; a name that is given whole is no pattern
        matching = [pattern] if pattern in known else [n for n in known if fnmatch.fnmatchcase(n, pattern)]
        found |= dict.fromkeys(matching)
    return tuple(found)
