"""What the inputs of failures have that those of held-out rows have not: rare categories, and shift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import sqrt
from statistics import median

from harness.data.findings import Unusable
from harness.data.leakage import compare_rows, without_honest_repeats
from harness.data.plain_text import words
from harness.data.rows import parse_json
from harness.data.shift import LANGUAGE_FIELDS, cramers_v, script, shares_p
from harness.decision.effects import cliffs_delta, cramers_v_limits, fisher_greater, newcombe
from harness.records import Category, CauseTest, Row, TrainingPoint
from harness.report.numbers import count, percent

# A category is hardly covered that has less than a quarter of a usual one's training rows, and below twenty
THIN, THIN_ROWS = 0.25, 20
KNOWN_HARD = 20  # held-out rows that failures are compared with beside all of them; see `run.causes`
MOST_FIELDS = 6  # whose categories are compared: each further test takes power from the others
SHOWN = 10  # categories
LABEL_WORDS = 8  # longest reply that may be a label


@dataclass(frozen=True)
class General:
    """A suite beside the task: rows that only the baseline gets right, only the candidate, and all."""

    suite: str
    lost: int
    gained: int
    n: int


@dataclass(frozen=True)
class Case:
    """What is known of a model and of the rows that it failed on."""

    training: Sequence[Row]
    heldout: Sequence[Row]
    failures: Sequence[Row]
    right: Mapping[str, bool]  # by held-out row: whether the candidate was; empty: no check says so
    slices: Sequence[str] = ()  # fields that the suite looks at
    # cosine distances of held-out rows and failures to the nearest training row, or why there are none
    distances: tuple[Sequence[float], Sequence[float]] | str = "not measured"
    curve: Sequence[TrainingPoint] = ()
    # whether the base is right, by held-out row, and on the failures (None: no answer); or why none asked it
    base: tuple[Mapping[str, bool], Sequence[bool | None]] | str = "not asked"
    general: Sequence[General] = ()

    @cached_property
    def leaked(self) -> frozenset[str]:
        """Ids of held-out rows that are copies of training rows, or nearly."""
        leaks = without_honest_repeats(compare_rows(self.training, self.heldout).leaks, len(self.heldout))
        return frozenset(leak.heldout_id for leak in leaks)

    @cached_property
    def clean(self) -> list[Row]:
        """Held-out rows that are not leaked; all, where that leaves too few."""
        rows = [row for row in self.heldout if row.id not in self.leaked]
        return rows if len(rows) >= KNOWN_HARD else list(self.heldout)

    def hard(self, likeness: Mapping[str, float]) -> list[Row]:
        """Held-out rows that the candidate got wrong; where these are few, also those most like failures.

        ``likeness`` says how like they are, by row.
        """
        wrong = [row for row in self.clean if self.right.get(row.id) is False]
        others = [row for row in self.clean if self.right.get(row.id) is not False and row.id in likeness]
        others.sort(key=lambda row: (-likeness[row.id], row.id))
        return wrong + others[: max(0, KNOWN_HARD - len(wrong))]

    @cached_property
    def fields(self) -> dict[str, dict[int, str]]:
        """By field, the category of each row (by ``id()``) that has one."""
        return dict(list(_fields(self))[:MOST_FIELDS])


# --------------------------------------------------------------------------- 2. the long tail
def _fields(case: Case) -> Iterator[tuple[str, dict[int, str]]]:
    """Categories of rows: the suite's slices, labels in replies, and other metadata with few values."""
    sides = (case.training, case.heldout, case.failures)
    rows = list(chain(*sides))
    keys = {key for row in case.failures for key in row.metadata} - set(LANGUAGE_FIELDS)
    labels = _labels(rows)
    own = {key: {id(row): v for row in rows if (v := row.text(key)) is not None} for key in keys}
    names = [key for key in case.slices if key in own] + sorted(keys - set(case.slices))
    seen: list[dict[int, str]] = []
    for name, of in [*((key, own[key]) for key in names[: len(case.slices)]), *labels.items(), *own.items()]:
        has_all = all(sum(id(row) in of for row in side) >= 0.9 * len(side) > 0 for side in sides)
        values = [of[id(row)] for row in case.training if id(row) in of]
        is_id = len(set(of.values())) > len(of) / 2 or len(set(values)) > max(1, len(values) / 2)
        if has_all and not is_id and len(set(of.values())) > 1 and of not in seen:
            seen.append(of)
            yield name, of


def _labels(rows: Sequence[Row]) -> dict[str, dict[int, str]]:
    """The reply where it is short, or the fields of a reply that is a JSON object; checked by `_fields`."""
    whole: dict[int, str] = {}
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        if len(row.reference) < 200 and len(words(row.reference)) <= LABEL_WORDS:
            whole[id(row)] = row.reference.strip()
        try:
            reply = parse_json(row.reference)
        except Unusable:
            continue
        for key, value in (reply if isinstance(reply, dict) else {}).items():
            if isinstance(value, str | bool | int) and len(str(value)) < 100:
                found.setdefault(f"the reply's {key}", {})[id(row)] = str(value)
    return {"the reply": whole, **found}


def _counts(of: Mapping[int, str], rows: Sequence[Row]) -> Counter[str]:
    return Counter(of[id(row)] for row in rows if id(row) in of)


def thin_values(case: Case, name: str) -> frozenset[str]:
    """Values of a field that training rows hardly have; a usual one is that of the median held-out row."""
    of = case.fields[name]
    training = _counts(of, case.training)
    usual = median(training[of[id(row)]] for row in case.clean if id(row) in of)
    return frozenset(value for value in set(of.values()) if training[value] < min(THIN * usual, THIN_ROWS))


def long_tail(case: Case) -> Iterator[CauseTest]:
    """Whether failures are more often of thin values than held-out rows are, by field."""
    if not case.fields:
        yield CauseTest(
            "long tail",
            "categories",
            "training rows, held-out rows and failures share no field with categories (metadata, or a label"
            " in the reply).",
        )
    for name, of in case.fields.items():
        thin = thin_values(case, name)
        failed, known = _counts(of, case.failures), _counts(of, case.clean)
        n, m = failed.total(), known.total()
        hits, expected = (sum(found[value] for value in thin) for found in (failed, known))
        p = fisher_greater((hits, n), (expected, m))
        low, high = newcombe((hits, n), (expected, m))
        worst = sorted((value for value in thin if failed[value]), key=lambda value: (-failed[value], value))
        training = _counts(of, case.training)
        named = ", ".join(f"{value[:40]} ({failed[value]:,}; {training[value]:,})" for value in worst[:3])
        yield CauseTest(
            "long tail",
            name,
            f"{count(hits, n)} failures ({percent(hits / n)}) and {count(expected, m)} held-out rows"
            f" ({percent(expected / m)}) are of values that training rows hardly have"
            + (f": {named}; failures and training rows of each in brackets." if named else "."),
            "share",
            (n, m),
            hits / n - expected / m,
            low,
            high,
            p,
            next_step=f"Write training rows for {', '.join(value[:40] for value in worst[:5]) or 'them'}, and"
            " held-out rows as well: the suite does not test them today.",
        )


def failing_categories(case: Case) -> list[Category]:
    """The values with the largest excess of failures over their share of the held-out rows."""
    found: list[tuple[float, Category]] = []
    for name, of in case.fields.items():
        failed, known, training = (_counts(of, rows) for rows in (case.failures, case.clean, case.training))
        judged = [row for row in case.clean if row.id in case.right]
        right, of_judged = _counts(of, [row for row in judged if case.right[row.id]]), _counts(of, judged)
        thin = thin_values(case, name)
        for value in failed:
            excess = failed[value] / failed.total() - known[value] / max(1, known.total())
            one = Category(
                name,
                value,
                training[value],
                known[value],
                right[value] / of_judged[value] if of_judged[value] else None,
                failed[value],
                value in thin,
            )
            found.append((excess, one))
    found.sort(key=lambda pair: (-pair[0], pair[1].field, pair[1].value))
    return [one for _, one in found[:SHOWN]]


# --------------------------------------------------------------------------- 3. shift
def shift(case: Case, failures: Sequence[Row]) -> Iterator[CauseTest]:
    """Inputs of the failures against those of held-out rows: classes, language, words, length, distance."""
    for name, of in case.fields.items():
        yield from _classes(
            case,
            failures,
            name,
            of,
            "Hold out and train on rows with the shares of production, and judge the candidate on those.",
        )
    rows = [*case.clean, *failures]
    step = "Write training and held-out rows in the languages of production."
    language = {
        key: of
        for key in LANGUAGE_FIELDS
        if len(of := {id(row): v for row in rows if (v := row.text(key)) is not None}) == len(rows)
    }
    scripts = {id(row): found for row in rows if (found := script(row.question)) is not None}
    for name, of in [*language.items(), ("writing system", scripts)][:1]:
        yield from _classes(case, failures, f"language ({name})", of, step)
    seen = set(chain.from_iterable(words(row.question) for row in case.training))

    def new_words(row: Row) -> float:
        found = words(row.question)
        return sum(word not in seen for word in found) / max(1, len(found))

    told = "the share of a message's words that no training row has"
    step = "Write training rows in the words of production: another language, other products, other names."
    yield _ordered(case, failures, "new words", told, {id(row): new_words(row) for row in rows}, step)
    lengths = {id(row): float(len(words(row.question))) for row in rows}
    step = "Write training and held-out rows as long as those of production."
    yield _ordered(case, failures, "length", "words of the last user message", lengths, step, two_sided=True)
    what, told = "distance to training rows", "cosine distance to the nearest training row"
    if isinstance(case.distances, str):
        yield CauseTest("shift", what, case.distances)
        return
    sides = zip((case.heldout, case.failures), case.distances, strict=True)
    distances = {id(row): far for side, found in sides for row, far in zip(side, found, strict=True)}
    step = "Write training rows about what these messages ask; start with the farthest."
    yield _ordered(case, failures, what, told, distances, step)


def _classes(
    case: Case, failures: Sequence[Row], name: str, of: Mapping[int, str], step: str
) -> Iterator[CauseTest]:
    failed, known = (_counts(of, side) for side in (failures, case.clean))
    if not failed or not known or len({*failed, *known}) < 2:
        if name.startswith("language"):
            yield CauseTest("shift", name, "all messages are of one kind.")
        return
    n, m = failed.total(), known.total()
    gap = {value: failed[value] / n - known[value] / m for value in {*failed, *known}}
    hard = _counts(of, case.hard({row.id: gap[of[id(row)]] for row in case.clean if id(row) in of}))
    p = max(shares_p(failed, known)[0], shares_p(failed, hard)[0] if hard else 1.0)
    v = cramers_v(failed, known)
    rows, df = 4 * n * m / (n + m), len({*failed, *known}) - 1
    low, high = cramers_v_limits(rows * v * v, df, rows)
    v = sqrt(max(0.0, v * v - df / rows))  # without what chance alone gives (W. Bergsma 2013)
    most = sorted(gap, key=lambda value: (-gap[value], value))[:2]
    named = "; ".join(
        f"{value[:40]} ({percent(failed[value] / n)} of failures, {percent(known[value] / m)} held out)"
        for value in most
        if gap[value] > 0
    )
    said = f"shares of {name} in {n:,} failures and {m:,} held-out rows; most above: {named}."
    yield CauseTest("shift", name, said, "Cramér's V", (n, m), v, low, high, p, next_step=step)


def _ordered(
    case: Case,
    failures: Sequence[Row],
    what: str,
    told: str,
    value: Mapping[int, float],
    step: str,
    *,
    two_sided: bool = False,
) -> CauseTest:
    failed, known = ([value[id(row)] for row in side] for side in (failures, case.clean))
    if not failed or not known:
        return CauseTest("shift", what, "no failure is left to compare.")
    if len({*failed, *known}) == 1:
        return CauseTest("shift", what, f"{told}: the same in all rows.")
    from scipy.stats import mannwhitneyu

    delta, low, high = cliffs_delta(failed, known)
    sign = -1.0 if two_sided and delta < 0 else 1.0
    hard = case.hard({row.id: sign * value[id(row)] for row in case.clean})

    def p_of(others: Sequence[float]) -> float:
        if not others or len({*failed, *others}) == 1:
            return 1.0
        p = mannwhitneyu(failed, others, alternative="greater" if sign > 0 else "less").pvalue
        return min(1.0, float(p) * (2 if two_sided else 1))

    said = (
        f"{told}: median {median(failed):.3g} in {len(failed):,} failures and {median(known):.3g} in"
        f" {len(known):,} held-out rows."
    )
    p = max(p_of(known), p_of([value[id(row)] for row in hard]))
    low, high = sorted((sign * low, sign * high))
    n = (len(failed), len(known))
    return CauseTest("shift", what, said, "Cliff's delta", n, sign * delta, low, high, p, next_step=step)
