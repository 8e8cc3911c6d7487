"""The best of several seeds, sizes or recipes looks better on the rows that chose it than it is.

So the store notes at which sizes and seeds held-out rows judged a recipe, and beside which others. A verdict
takes all sizes and seeds, or rows that have judged none; other recipes that are left out count as tries of
the run (:mod:`harness.decision.holm`). Rows are told by what they ask: a file to which rows were added
remembers what it judged before, as long as half of its rows are of that time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.data.fingerprints import asked_keys, fingerprint, rows_fingerprint
from harness.decision.holm import LeftOut
from harness.records import Gate
from harness.run.past import Past
from harness.run.selection import Arm
from harness.run.session import Session
from harness.run.suite_loading import LoadedSuite
from harness.store.answers import Judged

FRESH_ROWS = "on rows that have judged none (Suite(final=...) and --final)"
MOST_NAMED = 5  # candidates in one sentence


@dataclass
class Chosen:
    """By candidate, what its rows judged before that this run leaves out."""

    #: seeds and sizes, as reasons against GO
    obstacles: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, LeftOut] = field(default_factory=dict)


def chosen_on_its_rows(run: Session, gates: Sequence[Gate], *, has_ended: bool = True) -> Chosen:
    """Why candidates may have been chosen on the rows that judge them.

    Once the run has ended, notes what they judge today.

    A rehearsal's answers are a stand-in's: it notes nothing, and nothing is held against it.
    """
    found = Chosen()
    if run.settings.rehearse is not None:
        return found
    history, today = run.store.judged(), list[Judged]()
    company: defaultdict[str, dict[str, str]] = defaultdict(dict)  # by candidate: recipes and their names
    recipe_of: dict[str, str] = {}
    for suite in run.suites.values():
        asked = {name: _asked(run, name, suite.name) for name in run.selection.chosen()}
        recipes = {name: run.recipe_of(arms[-1], at_any_size=True) for name, arms in asked.items() if arms}
        recipe_of |= recipes
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
            )
            found.obstacles[name] += filter(None, obstacles)
            company[name] |= past.company(recipes[name], recipes.values())
    if today and has_ended:
        run.store.note_judged(today)
    # they count as judged today
    counted = {gate.candidate for gate in gates} | set(run.selection.chosen() if run.ladder else ())
    unasked = counted - set(recipe_of)
    for name, recipes in company.items():
        others = {recipe: was for recipe, was in recipes.items() if recipe not in recipe_of.values()}
        for one in unasked & set(others.values()):
            del others[next(recipe for recipe, was in others.items() if was == one)]
        if others:
            found.left_out[name] = _left_out(name, list(others.values()), set(recipe_of))
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


def _left_out(name: str, others: Sequence[str], today: set[str]) -> LeftOut:
    """Other recipes by what they were called; a name of today stands for other settings now."""
    times = Counter(others)
    changed = [was for was in times if was in today or times[was] > 1]
    named = [
        was if was not in changed else f"{was} with {_settings(times[was], was in today)}" for was in times
    ]
    together = "Judge them together, so that those that hold as well leave it more"
    if changed:
        together += (
            f" (give the former settings of {_listed(changed)} a name of their own; what is answered is kept)"
        )
    elif len(times) <= MOST_NAMED:
        options = " ".join(f"--candidate={one}" for one in (name, *times))
        together += f" ({options}; what is answered is kept)"
    return LeftOut(len(others), _listed(named), together)


def _settings(count: int, is_of_today: bool) -> str:
    if count == 1:
        return "other settings than now"
    return f"{count} {'other ' if is_of_today else ''}settings"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
