"""A fine-tune for the rows that are like its training rows, and another model for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from math import inf
from typing import ClassVar

from harness.candidates.base import (
    Asker,
    Call,
    Candidate,
    CostEstimate,
    Prepared,
    PricedModel,
    Variant,
    require_candidate,
)
from harness.candidates.chain import joined
from harness.candidates.lab import Lab
from harness.candidates.router import ByConfidence, ByLikeness, nearness, threshold
from harness.data.fingerprints import asked_keys, fingerprint, rows_fingerprint
from harness.errors import DataError, ModelError, UsageError
from harness.fields import require_fields
from harness.models.protocol import Decoding, Prompt, Tools
from harness.records import Answer, Json, Row
from harness.training.rows import TrainingData, draw_rows

TUNED, OTHERWISE = "tuned", "otherwise"  # the routes, as records name them
FEWEST = 20  # development rows that a threshold may rest on
UNSURE = (
    "Routed(route=ByConfidence(...)): the fine-tune's answers have no log-probabilities.\n"
    "  hint: ask for them: RemoteModel(..., logprobs=True) from a provider of your own; or"
    " route=ByLikeness(...)."
)


@dataclass(frozen=True, kw_only=True)
class Routed:
    """Each row takes one of two routes: to a fine-tune, or otherwise to another model.

    Sizes and seeds are those of ``tuned``, which is trained once, whoever asks for it.

    Args:
        tuned: a candidate that is trained.
        otherwise: one that is not, such as its base.
        route: what decides, and on which development rows its threshold is set.

    Raises:
        UsageError: ``tuned`` or ``otherwise`` is no candidate.
    """

    kind: ClassVar[str] = "routed"

    tuned: Candidate
    otherwise: Candidate
    route: ByLikeness | ByConfidence

    def __post_init__(self) -> None:
        require_fields(self)
        for name in (TUNED, OTHERWISE):
            require_candidate(getattr(self, name), f"Routed({name}=...)")

    @property
    def cost_rank(self) -> int:
        """See ``Candidate``."""
        return self.tuned.cost_rank

    @property
    def decoding(self) -> Decoding:
        """See ``Candidate``: the fine-tune's. The other model has its own."""
        return self.tuned.decoding

    @property
    def model_name(self) -> str:
        """See ``Candidate``."""
        return self.tuned.model_name

    def described(self) -> dict[str, Json]:
        """See ``Candidate``."""
        route: dict[str, Json] = {"by": type(self.route).__name__, **asdict(self.route)}
        sides = {TUNED: dict(self.tuned.described()), OTHERWISE: dict(self.otherwise.described())}
        return {"kind": self.kind, **sides, "route": route}

    def own_baseline(self) -> Candidate:
        """See ``Candidate``."""
        return self.tuned.own_baseline()

    def data(self, lab: Lab) -> TrainingData:
        """See ``Candidate``: the fine-tune's rows, and those that set the route: none may be held out."""
        data, other = self.tuned.data(lab), self.otherwise.data(lab)
        if data is None or not data.is_trained:
            raise UsageError(f"Routed(tuned=...): a {self.tuned.kind} candidate is not trained.")
        if other is not None and other.is_trained:
            raise UsageError("Routed(otherwise=...): give a candidate that is not trained, such as the base.")
        other = other or TrainingData(())
        return replace(
            data,
            general=(*data.general, *lab.rows(self.route.dev), *other.seen),
            docs=(*data.docs, *other.docs),
            prompts=(*data.prompts, *other.prompts),
        )

    def endpoint(self) -> PricedModel | None:
        """See ``Candidate``."""
        tuned, other = self.tuned.endpoint(), self.otherwise.endpoint()
        other = None if other is None else replace(other, trains=False, route=OTHERWISE)
        if tuned is None:
            return other
        return replace(tuned, route=TUNED, others=(*tuned.others, *([] if other is None else [other])))

    def redirected(self, url: str) -> Routed:
        """See ``Candidate``."""
        return replace(self, tuned=self.tuned.redirected(url), otherwise=self.otherwise.redirected(url))

    def preflight(self, lab: Lab, variant: Variant) -> None:
        """See ``Candidate``."""
        self.data(lab)
        self._dev(lab)
        hosted = self.tuned.endpoint()
        if isinstance(self.route, ByConfidence) and hosted is not None and not hosted.model.logprobs:
            raise ModelError(UNSURE)
        for side in self._sides(variant):
            side.candidate.preflight(lab, side)

    def estimate(self, lab: Lab, variant: Variant) -> CostEstimate:
        """See ``Candidate``."""
        tuned, other = (side.candidate.estimate(lab, side) for side in self._sides(variant))
        return replace(tuned, prepared=self._routed(lab, variant, tuned, other))

    def prepare(self, lab: Lab, variant: Variant) -> Prepared:
        """See ``Candidate``."""
        tuned, other = (CostEstimate(side.candidate.prepare(lab, side)) for side in self._sides(variant))
        return self._routed(lab, variant, tuned, other)

    def notes(self, lab: Lab, variant: Variant) -> Sequence[str]:
        """See ``Candidate``."""
        return [note for side in self._sides(variant) for note in side.candidate.notes(lab, side)]

    # ----------------------------------------------------------------------- routes
    def _sides(self, variant: Variant) -> tuple[Variant, Variant]:
        return replace(variant, candidate=self.tuned), Variant(variant.name, self.otherwise)

    def _dev(self, lab: Lab) -> list[Row]:
        """Development rows whose questions are not trained on."""
        data, rows = self.tuned.data(lab), lab.rows(self.route.dev)
        trained = set(asked_keys(data.train)) if data is not None else set()
        own = [row for row, key in zip(rows, asked_keys(rows), strict=True) if key not in trained]
        if len(own) < FEWEST:
            raise DataError(
                lab.shown(self.route.dev),
                f"{len(own)} development rows that are not trained on; a route's threshold rests on {FEWEST}"
                " or more",
                "set rows of the task aside that are neither trained on nor held out",
            )
        return own

    def _routed(self, lab: Lab, variant: Variant, tuned: CostEstimate, other: CostEstimate) -> Prepared:
        data, dev = self.tuned.data(lab), self._dev(lab)
        assert data is not None  # see ``data``
        train = draw_rows(data, variant.size, variant.seed or 0).own
        mine = _Side(self.tuned, tuned, isinstance(self.route, ByConfidence))
        theirs = _Side(self.otherwise, other)

        def compose(rows: Sequence[Row], asker: Asker) -> Mapping[str, Answer]:
            every = {row.id for row in rows}
            if isinstance(self.route, ByConfidence):
                first = mine.answers(rows, every, asker)
                set_aside = mine.answers(dev, None, asker)
                found = _confidence(first, list(set_aside.values()), self.route.keep)
                own, through = found.own, every  # both have answered the rest, and both are paid
            else:
                found = _likeness(self.route, rows, train, dev, asker)
                own = through = found.own if found.values else every
                first = mine.answers(rows, own, asker)
            rest = every - own if found.values else every
            second = theirs.answers(rows, rest, asker)
            made = {}
            for row in every:
                said = [(TUNED, first[row])] if row in through else []
                if row not in own:
                    said.append((OTHERWISE, second[row]))
                answer = joined(said, is_chain=False)
                told = replace(answer.parts[-1], why=found.why(row))
                made[row] = replace(answer, parts=(*answer.parts[:-1], told))
            return made

        identity: dict[str, Json] = {
            "routed": [tuned.prepared.identity, other.prepared.identity],
            "by": {"by": type(self.route).__name__, **asdict(self.route), "dev": ""},
            "rows": [rows_fingerprint(part) for part in (train, dev)],
        }
        own_recipe = tuned.prepared.recipe
        recipe = None if own_recipe is None else {**own_recipe, "routed": lab.by_content(self.described())}
        both = (tuned.prepared, other.prepared)
        return replace(
            tuned.prepared,
            identity=fingerprint(identity),
            numeric_config=" or ".join(dict.fromkeys(side.numeric_config for side in both)),
            asked_with=f"{TUNED}: {both[0].asked_with}; {OTHERWISE}: {both[1].asked_with}",
            batch_independent=all(side.batch_independent for side in both),
            recipe=recipe,
            mutable=None,
            given=None,
            compose=compose,
        )


@dataclass(frozen=True)
class _Side:
    """One of the two models, as it was prepared."""

    candidate: Candidate
    made: CostEstimate
    is_weighed: bool = False  # whether the route goes by how sure it is

    def answers(self, rows: Sequence[Row], wanted: Set[str] | None, asker: Asker) -> Mapping[str, Answer]:
        """Those to the rows that are wanted; to all, for no row of the suite, where that is None.

        What a local model answers depends on the rows in its batches: it is asked all of them, and so gives
        what it gives alone.
        """
        prepared = self.made.prepared
        every = wanted is None or (bool(wanted) and not prepared.batch_independent)
        asked = [row for row in rows if every or row.id in (wanted or ())]
        if prepared.compose is not None:
            return prepared.compose(asked, asker) if asked else {}
        own = prepared.prompt
        prompts = [
            Prompt(row.id, prepared.ask(row, asker.prompt(row, own)), tools=Tools.of(row)) for row in asked
        ]
        name = "" if self.made.asked_as is None else self.made.asked_as.model
        call = Call(
            self.candidate,
            prepared,
            prompts,
            asked_as=name,
            needs_logprobs=self.is_weighed,
            rows=frozenset(wanted or ()),
        )
        return asker.ask(call)


@dataclass(frozen=True)
class _Weighed:
    """What each row's route goes by; without values in a plan that cannot know them yet."""

    what: str = ""
    values: Mapping[str, float | None] = field(default_factory=dict)
    least: float = 0.0  # the threshold

    @property
    def own(self) -> set[str]:
        """The fine-tune's rows."""
        return {row for row, value in self.values.items() if value is not None and value >= self.least}

    def why(self, row: str) -> str:
        """In words, for the report."""
        value, none = self.values.get(row), {None: "none", -inf: "none (cut off)"}
        least = (
            "none (all answers to development rows are cut off)" if self.least == inf else f"{self.least:.4f}"
        )
        return f"{self.what} {none.get(value) or f'{value:.4f}'}, threshold {least}"


def _confidence(answers: Mapping[str, Answer], dev: Sequence[Answer], keep: float) -> _Weighed:
    """Rows by how sure their answers are; the threshold by those to development rows.

    Raises:
        ModelError: none of those has a log-probability.
    """
    known = [value for value in map(_sureness, dev) if value is not None]
    if not known and all(answer.prompt_tokens is None for answer in dev):
        return _Weighed()  # a plan: nobody was asked
    if not known:
        raise ModelError(UNSURE)
    values = {row: _sureness(one) for row, one in answers.items()}
    least = max(threshold(known, keep), min((value for value in known if value > -inf), default=inf))
    return _Weighed("mean log-probability a token", values, least)


def _sureness(answer: Answer) -> float | None:
    """Its log-probability; none is less than that of a cut-off one, which may repeat itself, ever surer."""
    return -inf if answer.logprob is not None and answer.finish == "length" else answer.logprob


def _likeness(
    route: ByLikeness,
    rows: Sequence[Row],
    train: Sequence[Row],
    dev: Sequence[Row],
    asker: Asker,
) -> _Weighed:
    """Rows by their cosine to the nearest training row, and the threshold by that of development rows."""
    parts = [train, dev, rows]
    vectors = asker.embed([row.question for part in parts for row in part], route.encoder)
    if vectors is None:
        return _Weighed()
    ends = list(accumulate(map(len, parts)))
    known, *others = (vectors[end - len(part) : end] for part, end in zip(parts, ends, strict=True))
    dev_values, values = (nearness(other, known) for other in others)
    by_row = {row.id: float(value) for row, value in zip(rows, values, strict=True)}
    return _Weighed("cosine to the nearest training row", by_row, threshold(dev_values, route.keep))
