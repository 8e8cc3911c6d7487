"""The best of several seeds, sizes or recipes looks better on the rows that chose it than it is.

So the store notes at which sizes and seeds held-out rows judged a recipe, and beside which others. A verdict
takes all of them, or rows that have judged none. Rows are told by what they ask: a file to which rows were
added remembers what it judged before, as long as half of its rows are of that time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from harness.data.fingerprints import asked_keys, fingerprint, rows_fingerprint
from harness.records import Gate
from harness.run.selection import Arm
from harness.run.session import Session
from harness.run.suite_loading import LoadedSuite
from harness.store.answers import Judged

FRESH_ROWS = "on rows that have judged none (Suite(final=...) and --final)"


class Past:
    """What rows have judged before, from a history of any source.

    Args:
        rows: keys of the rows of today, one each; see ``asked_keys``.
        history: of these and other rows.
    """

    def __init__(self, rows: Sequence[str], history: Iterable[Judged]) -> None:
        self._least = len(rows) / 2
        places: dict[frozenset[str], frozenset[int]] = {}  # by rows of the past: which of today's they are
        at: defaultdict[tuple[str, int | None, int | None], set[int]] = defaultdict(set)
        names: defaultdict[tuple[frozenset[str], str], dict[str, str]] = defaultdict(dict)
        for one in history:
            if one.rows not in places:
                places[one.rows] = frozenset(n for n, key in enumerate(rows) if key in one.rows)
            if places[one.rows]:
                at[one.recipe, one.size, one.seed] |= places[one.rows]
                names[one.rows, one.beside][one.recipe] = one.name
        self._at = at
        self._together = [(places[its_rows], company) for (its_rows, _), company in names.items()]

    def seeds(self, recipe: str, size: int | None) -> list[int]:
        """Those that most of the rows have judged a recipe at, at one size."""
        return sorted(
            seed
            for (its, at_size, seed), rows in self._at.items()
            if (its, at_size) == (recipe, size) and seed is not None and len(rows) >= self._least
        )

    def sizes(self, recipe: str) -> list[int]:
        """Those that most of the rows have judged a recipe at, with whatever seed."""
        by_size: defaultdict[int, set[int]] = defaultdict(set)
        for (its, size, _), rows in self._at.items():
            if its == recipe and size is not None:
                by_size[size] |= rows
        return sorted(size for size, rows in by_size.items() if len(rows) >= self._least)

    def company(self, recipe: str) -> dict[str, str]:
        """Other recipes that most of the rows have judged in one run with this one, and their last names."""
        shared: defaultdict[str, set[int]] = defaultdict(set)
        names: dict[str, str] = {}
        for rows, company in self._together:
            for other, name in company.items() if recipe in company else ():
                if other != recipe:
                    shared[other] |= rows
                    names[other] = name
        return {other: names[other] for other, rows in shared.items() if len(rows) >= self._least}


def chosen_on_its_rows(run: Session, gates: Sequence[Gate]) -> Mapping[str, Sequence[str]]:
    """By candidate, why it may have been chosen on the rows that judge it. Notes what they judge today.

    A rehearsal's answers are a stand-in's: it notes nothing, and nothing is held against it.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    if run.settings.rehearse is not None:
        return found
    history, today = run.store.judged(), list[Judged]()
    for suite in run.suites.values():
        asked = {name: _asked(run, name, suite.name) for name in run.selection.chosen()}
        recipes = {name: run.recipe_of(arms[-1], at_any_size=True) for name, arms in asked.items() if arms}
        rows = asked_keys(suite.rows)
        notes = _notes(run, suite, frozenset(rows), asked, recipes)
        past = Past(rows, [*history, *notes])
        today += notes
        gated = {gate.candidate for gate in gates if gate.suite == suite.name and gate.state == "gated"}
        for name in (name for name in recipes if name in gated):
            arm = run.selection.sized(name)[-1]
            obstacles = (
                _seed_obstacle(past, arm, recipes[name], suite.heldout),
                _size_obstacle(past, arm, recipes[name], suite.heldout),
                _company_obstacle(past, name, recipes, suite.heldout),
            )
            found[name] += filter(None, obstacles)
    if today:
        run.store.note_judged(today)
    return found


def _asked(run: Session, name: str, suite: str) -> list[Arm]:
    """A candidate at the sizes at which a row was answered: what was never trained has shown nothing."""
    return [
        arm
        for arm in run.selection.sized(name)
        if any(
            answer.failure is None
            for seed in arm.replicas
            if (arm.label, seed, suite) in run.trials
            for answer in run.trials[arm.label, seed, suite].answers
        )
    ]


def _notes(
    run: Session,
    suite: LoadedSuite,
    rows: frozenset[str],
    asked: Mapping[str, Sequence[Arm]],
    recipes: Mapping[str, str],
) -> list[Judged]:
    """What the rows judge today, and its seeds that versions without ``Judged`` noted of the very file."""
    beside, file = fingerprint(sorted(set(recipes.values()))), rows_fingerprint(suite.rows)
    notes = []
    for name, recipe in recipes.items():
        for arm in asked[name]:
            seeds = [seed for seed in arm.replicas if (arm.label, seed, suite.name) in run.trials]
            if arm.seeds:
                seeds += run.store.seeds_noted_before(file, run.recipe_of(arm))
            notes += [Judged(rows, beside, recipe, name, arm.size, seed) for seed in dict.fromkeys(seeds)]
    return notes


def _seed_obstacle(past: Past, arm: Arm, recipe: str, heldout: str) -> str:
    seen = past.seeds(recipe, arm.size)
    others = [seed for seed in seen if seed not in arm.seeds]
    if not others:
        return ""
    every = ",".join(map(str, sorted({*seen, *arm.seeds})))
    return (
        f"{heldout} has judged this recipe at seed {', '.join(map(str, others))} before: a seed"
        " chosen among several cannot be tested on the rows it was chosen on. Judge them all"
        f" (--train-seeds={every}; what is trained is kept), or test the chosen one {FRESH_ROWS}."
    )


def _size_obstacle(past: Past, arm: Arm, recipe: str, heldout: str) -> str:
    """More rows than before are no choice of the best; fewer are."""
    seen = past.sizes(recipe)
    if arm.size is None or not seen or seen[-1] <= arm.size:
        return ""
    every = [str(size) for size in sorted({*seen, arm.size})]
    return (
        f"{arm.label} was chosen among the sizes {', '.join(every)} on rows of {heldout}: the best of several"
        " cannot be tested on the rows it was chosen on. Judge the curve up to its largest size"
        f" (--sizes={','.join(every)}; what is trained is kept), or test the chosen one {FRESH_ROWS}."
    )


def _company_obstacle(past: Past, name: str, recipes: Mapping[str, str], heldout: str) -> str:
    company = past.company(recipes[name])
    left_out = [was for recipe, was in company.items() if recipe not in recipes.values()]
    if not left_out:
        return ""
    missing = list(dict.fromkeys(left_out))
    changed = [was for was in missing if was in recipes or left_out.count(was) > 1]
    shown = [f"{was} (with other settings than now)" if was in changed else was for was in missing]
    options = " ".join(f"--candidate={one}" for one in (name, *missing))
    together = f"Judge them together ({options}; what is answered is kept)"
    if changed:
        together = (
            f"Give the former settings of {', '.join(changed)} a name of their own and judge all together"
            " (what is answered is kept)"
        )
    return (
        f"{name} was judged beside {', '.join(shown)} on rows of {heldout} before, which this run leaves out:"
        f" the best of several cannot be tested on the rows it was chosen on. {together}, or test the chosen"
        f" one {FRESH_ROWS}."
    )
