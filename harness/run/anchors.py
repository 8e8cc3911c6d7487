"""A hosted judge grades its anchors again in every run; one that has moved has no vote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.data.fingerprints import fingerprint
from harness.errors import BudgetReached, ModelError
from harness.records import Anchors, Json
from harness.run.judge_backends import JudgeBackends
from harness.scoring.drift import FEWEST_ANCHORS, STEPS, Anchor, after, anchors_of, compared, digest_of
from harness.scoring.judges import Judge, Oracle, TriedJudge, judged_rows
from harness.store.answers import AnswerStore


class AnchorWatch:
    """Compares what hosted judges say of their anchors with what they said when the store first heard it.

    The earlier scores stay until everything is judged anew (``asks_again``): a judge that moves a little in
    each run has moved far in the end.
    """

    def __init__(
        self,
        store: AnswerStore,
        judges: JudgeBackends,
        *,
        asks_again: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._store, self._judges, self._asks_again, self._say = store, judges, asks_again, say

    def watched(self, judge: Judge, tried: TriedJudge) -> TriedJudge:
        """The judge with its anchors in its admission; not admitted where they have moved.

        A local judge is as it came: its model's content is in the key of what it said.
        """
        anchors = anchors_of(judge)
        if tried.calibrated is None or tried.admission is None or not anchors or judge.estimate(()) is None:
            return tried
        admission = after(tried.admission, self._compared(judge, tried, anchors))
        if admission.anchors is not None and admission.anchors.moved:
            self._say(f"the judge {judge.name} is not admitted: {admission.reasons[-1]}.")
        return replace(tried, admission=admission)

    def _compared(self, judge: Judge, tried: TriedJudge, anchors: Sequence[Anchor]) -> Anchors:
        name = fingerprint({"anchors of": judge.name, "spec": _without_labels(judge.spec())})
        digest, oracle = digest_of(anchors), self._judges.today()
        used = _scores(judge, tried, anchors, self._judges)
        try:
            today = _scores(judge, tried, anchors, oracle)
        except (BudgetReached, ModelError) as error:
            why = f"they could not be asked for again: {str(error).splitlines()[0]}"
            return Anchors(digest, used, why=why)
        kept = self._store.anchor_scores(name)
        # where others have taken the place of most, nothing would ever be compared with those
        are_others = kept is not None and sum(one.key in kept[1] for one in anchors) < FEWEST_ANCHORS
        if kept is None or are_others or self._asks_again:
            # what a version without anchors kept is what today's scores are compared with
            self._store.keep_anchor_scores(name, used, min(filter(None, oracle.seen.dates), default=""))
            kept = self._store.anchor_scores(name) if oracle.seen.dates else None
        if kept is None or not oracle.seen.n_of_this_run:
            return Anchors(digest, today)
        since, before = kept
        return compared(anchors, before, today, since)


def _without_labels(spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """What a judge is, and those of a panel are, whatever it was tested on."""
    found: dict[str, Json] = {**spec, "labels": None}
    found.pop("anchors", None)
    judges = found.get("judges")
    if isinstance(judges, list):
        found["judges"] = [_without_labels(one) if isinstance(one, dict) else one for one in judges]
    return found


def _scores(judge: Judge, tried: TriedJudge, anchors: Sequence[Anchor], oracle: Oracle) -> dict[str, float]:
    """The anchors' scores by their keys; those that failed are missing."""
    rows, answers = [anchor.row for anchor in anchors], [anchor.answer for anchor in anchors]
    against = [anchor.against for anchor in anchors if anchor.against is not None] or None
    found = zip(anchors, judged_rows(judge, tried, rows, answers, oracle, against), strict=True)
    return {a.key: round(STEPS * s.value) / STEPS for a, s in found if s.value is not None}
