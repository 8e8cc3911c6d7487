"""What a sceptic wants to know of each judge: what it is, how it did on labels, what may mislead it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from harness.data.fingerprints import fingerprint
from harness.records import Admission, Disagreement, Gate, Json, Kind, Rate, RunRecord, ScoreInfo, SuiteInfo
from harness.report import numbers
from harness.report.anchors import anchors_told
from harness.report.corrections import corrections
from harness.report.trial_pairs import trial_label
from harness.report.view_models import Caution, Fact, JudgeBlock, Opposed, Tone
from harness.scoring.families import same_family
from harness.scoring.pairwise import order_effect
from harness.scoring.text import short

UNSEEN = (
    "Labels of other answers cannot show whether the judge favours one side of this run, by its style, its"
    " length or its words: such a favour is part of the difference, and no interval holds it. Labels of this"
    " run's answers correct it (harness label RUN, then harness decide RUN --labels FILE)."
)
_BUILT_IN = "smollm2-135m"  # what the likelihood judge reads with
_MOST_KINDS = 4  # of labels, those on which it does worst
_MOST_REASONS = 2  # for which something was not judged


def judge_cautions(record: RunRecord) -> Iterator[Caution]:
    """What to know of each judge before its gates are believed."""
    for suite, info, found in _judges(record):
        which = f"The judge of {suite.name} / {info.name}"
        gates = _resting(record, suite.name, info.name)
        means = "its gates only advise"
        if gates and all(gate.correction is not None for gate in gates):
            means = "labels of this run's answers correct it, and decide"
        if not found.admitted:
            yield Caution(f"{which} was not admitted: {means}.", found.reasons)
        elif info.trust == "run-labels" and any(gate.state == "advisory" for gate in gates):
            yield Caution(f"{which} was admitted on labels from elsewhere: {means}.", (UNSEEN,))
        elif info.trust == "transfer" and any(gate.correction is None for gate in gates):
            yield Caution(f'{which} decides on labels from elsewhere (trust="transfer").', (UNSEEN,))
        if found.concerns:
            yield Caution(f"{which}: look at what it does before you believe it.", found.concerns)


def judge_blocks(record: RunRecord) -> Iterator[JudgeBlock]:
    """One block for each judge of the run, and for other scores whose gates labels corrected."""
    for suite in record.suites:
        for info in suite.scores:
            gates = _resting(record, suite.name, info.name)
            if info.admission is not None or any(gate.correction for gate in gates):
                yield _block(record, suite, info, gates)


def _block(record: RunRecord, suite: SuiteInfo, info: ScoreInfo, gates: Sequence[Gate]) -> JudgeBlock:
    found = info.admission
    said, means, tone = _decides(info, found, gates)
    groups = () if found is None else (
        ("What it is, and what tested it", [*_is(record, suite, info), *_tested(info, found)]),
        ("How it did on labels", [*_did(info, found)]),
        ("What may mislead it", [*_misled(record, suite, info, found)]),
    )  # fmt: skip
    return JudgeBlock(
        title=f"{suite.name} / {info.name}",
        said=said,
        tone=tone,
        means=means,
        groups=groups,
        more=[] if found is None else [*_more(found)],
        told=_text(info.spec.get("instructions")),
        corrections=corrections(gates),
        opposed=[*_opposed(found, gates)],
        commands=[*_commands(record, suite, info)],
    )


def _judges(record: RunRecord) -> Iterator[tuple[SuiteInfo, ScoreInfo, Admission]]:
    for suite in record.suites:
        for info in suite.scores:
            if info.admission is not None:
                yield suite, info, info.admission


def _decides(info: ScoreInfo, found: Admission | None, gates: Sequence[Gate]) -> tuple[str, str, Tone]:
    """Whether it decides in this run: in a word, in a sentence, and how far that is to be trusted."""
    labelled = [gate.correction for gate in gates if gate.correction is not None]
    if labelled and len(labelled) == len(gates):
        n = numbers.count(labelled[0].n_labels, labelled[0].n)
        bars = (
            ""
            if found is None or found.admitted
            else f" Alone it was not admitted: {'; '.join(found.reasons)}."
        )
        means = (
            f"People labelled {n} rows of this run: these decide, and it as far as it agrees with them.{bars}"
        )
        return "decides, corrected", means, "good"
    if found is None:
        return "corrected in part", "A rule, not a judge; labels correct some of its gates.", "unsure"
    if not found.admitted:
        return "advises", f"It was not admitted: {'; '.join(found.reasons)}.", "bad"
    if info.trust == "transfer":
        means = "Admitted on labels of other answers; whether it favours a side of this run is not known."
        return "decides by transfer", means, "unsure"
    if not gates:
        return "admitted", "No gate rests on it.", "plain"
    if any(gate.state == "advisory" for gate in gates):
        means = "Admitted on labels of other answers; it decides once some of this run's are labelled."
        return "advises", means, "unsure"
    return "decides", "Admitted on labels of other answers.", "unsure"


# --------------------------------------------------------------------------- facts
def _is(record: RunRecord, suite: SuiteInfo, info: ScoreInfo) -> Iterator[Fact]:
    asked = _asked(info.spec)
    how = f"levels 1 to {info.spec['scale']}" if info.spec.get("scale") is not None else ""
    if info.kind is Kind.PREFERENCE:
        how = "two answers at once, in both orders"
    models = _models(info.spec)
    yield Fact("model", "; ".join(asked) or f"{', '.join(sorted(models)) or 'unnamed'}, local", how)
    material = fingerprint({**info.spec, "labels": None})
    yield Fact("instructions and settings", material[:12], "their SHA-256; run.json has them (spec)")
    bills = [line for line in record.spending if line.purpose == "judging" and line.model in models]
    paid = f"{numbers.usd(sum(line.usd for line in bills))}, {sum(line.calls for line in bills):,} calls"
    if bills:
        yield Fact("paid in this run", paid, "labels included, kept judgments not")
    else:
        yield Fact("paid in this run", "nothing", "kept judgments" if asked else "it runs on this machine")
    n, judged, why = 0, 0, Counter[str]()
    for trial in record.trials:
        for score in trial.scores.get(info.name, ()) if trial.suite == suite.name else ():
            n, judged = n + 1, judged + (score.value is not None)
            if score.value is None:
                why[short(score.failure or "not reached", 60)] += 1
    lost = "; ".join(f"{times:,} {reason}" for reason, times in why.most_common(_MOST_REASONS))
    yield Fact("judged", numbers.count(judged, n), f"not judged: {lost}" if lost else "all answers")


def _tested(info: ScoreInfo, found: Admission) -> Iterator[Fact]:
    is_pair = info.kind is Kind.PREFERENCE
    what, first, second = ("pair", "for the first", "for the second") if is_pair else ("label", "good", "bad")
    on = f"{numbers.plural(found.n_test, what)}: {found.tpr.n} {first}, {found.tnr.n} {second}"
    n = found.n_calibration
    others = "set up on" if "trained" not in dict(found.facts) else "each by heads trained on at most"
    yield Fact("tested on", on, f"{others} {n:,} others" if n else "nothing was set up on them")
    who = numbers.plural(found.n_annotators, "annotator") if found.n_annotators else "not noted"
    named = f": {short(', '.join(found.annotators), 80)}" if found.annotators else ""
    agree = "how far people agree is not known: no reply has two labels"
    if found.alpha is not None:
        agree = f"Krippendorff’s alpha {numbers.rate(found.alpha)}: 0 is chance, 1 they always agree"
    ties = f"; {numbers.plural(found.n_ties, 'tie')} left out" if found.n_ties else ""
    yield Fact("labelled by", who + named, agree + ties)


def _did(info: ScoreInfo, found: Admission) -> Iterator[Fact]:
    names = ("right where the first is better", "right where the second is better")
    if info.kind is not Kind.PREFERENCE:
        names = ("good replies called good (TPR)", "bad replies called bad (TNR)")
    for name, rate in zip(names, (found.tpr, found.tnr), strict=True):
        right = f"{numbers.count(round(rate.value * rate.n), rate.n)} right; 0.80 admits"
        yield Fact(name, numbers.rate(rate), right)
    both = "0 is no better than a coin, 1 never wrong"
    yield Fact("both together (TPR + TNR − 1)", numbers.rate(found.youden), both)
    kappa = "0 is chance, 1 is always"
    yield Fact("agreement beyond chance (Cohen’s kappa)", numbers.rate(found.kappa), kappa)
    kinds = sorted(found.by_kind.items(), key=lambda one: one[1].value)
    if kinds:
        worst = "; ".join(f"{kind} {numbers.rate(rate)}" for kind, rate in kinds[:_MOST_KINDS])
        yield Fact("right, by kind of label", worst, "where it is worst comes first")


def _misled(record: RunRecord, suite: SuiteInfo, info: ScoreInfo, found: Admission) -> Iterator[Fact]:
    effect = found.length_effect
    if info.kind is Kind.PREFERENCE:
        orders = [*_of_order(record, suite.name, info)]
        told = "; ".join(f"{numbers.rate(rate)} ({label})" for label, rate in orders) or "not measured"
        yield Fact("order", told, "verdicts that depend on which answer stands first; they count as ties")
    elif effect is None:
        yield Fact("length", "not measured", "scores or lengths are all alike")
    else:
        means = "above 0: of replies that people called alike, the longer scores higher"
        yield Fact("length (rank correlation)", numbers.rate(effect), means)
    models = _models(info.spec)
    sides = {candidate.model for candidate in record.candidates}
    kin = sorted(side for side in sides if any(same_family(side, model) for model in models))
    if kin:
        yield Fact("own family", f"yes: {', '.join(kin)}", "judges prefer what their own family writes")
    else:
        yield Fact("own family", "no" if models else "not known", "by the names of the models")
    if found.anchors is not None:
        yield Fact("has it moved", anchors_told(found.anchors), "the same labelled replies, asked again")
    else:
        known = "" if _asked(info.spec) else "its model is known by its content"
        yield Fact("has it moved", "not asked", known)
    tried = found.attacks
    if tried is None:
        yield Fact("answers that ask for a good grade", "not tried", "harness judge-check tries 40")
        return
    lost = f"; {tried.failed:,} not judged" if tried.failed else ""
    gained = f"{numbers.count(tried.gained, tried.n)} gained"
    yield Fact("answers that ask for a good grade", gained, f"on {tried.made[:10]}; at most 5% may{lost}")


def _more(found: Admission) -> Iterator[Fact]:
    """What is folded: figures for those who know them."""
    if found.weighted_kappa is not None:
        means = "agreement beyond chance; far misses count for more"
        yield Fact("weighted kappa of levels", numbers.rate(found.weighted_kappa), means)
    if found.slope is not None:
        means = "how much its score rises from bad to good; 1: all the way"
        yield Fact("slope of scores on labels", numbers.rate(found.slope), means)
    yield Fact("good from a score of", numbers.score(found.threshold, Kind.GRADED), "of 100")
    yield from (Fact(what, value) for what, value in found.facts)
    yield from (Fact("look", concern) for concern in found.concerns)


def _of_order(record: RunRecord, suite: str, info: ScoreInfo) -> Iterator[tuple[str, Rate]]:
    """For each trial, how many verdicts of a judge of pairs depend on the order."""
    for trial in record.trials:
        if trial.suite == suite and info.name in trial.scores:
            effect = order_effect(trial.scores[info.name])
            if effect is not None:
                yield trial_label(trial), effect


def _opposed(found: Admission | None, gates: Sequence[Gate]) -> Iterator[Opposed]:
    """Where judge and people disagree most, on this run's answers, then on the labels that tested it."""
    of_run = {one: None for gate in gates if gate.correction for one in gate.correction.disagreements}
    for of, some in (("of this run", [*of_run]), ("of the labels", found.disagreements if found else ())):
        yield from (_shown(of, one) for one in some)


def _shown(of: str, one: Disagreement) -> Opposed:
    said, people = (numbers.score(value, Kind.GRADED) for value in (one.score, one.label))
    return Opposed(f"{one.where} ({of})", one.question, one.answer, f"{said}", people, one.reason)


def _commands(record: RunRecord, suite: SuiteInfo, info: ScoreInfo) -> Iterator[str]:
    places = (gate.place.split(":")[0] for gate in record.gates if gate.suite == suite.name and gate.place)
    score = f'"{info.name}"' if " " in info.name else info.name
    if info.admission is not None:
        yield f"harness judge-check {next(places, 'SUITE')} --score {score}"
    run = record.decided_from or record.id
    yield f"harness label reports/{run} --suite {suite.name} --score {score}"
    yield f"harness decide reports/{run} --labels labels-NAME.jsonl"


# --------------------------------------------------------------------------- what a spec says
def _members(spec: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """The spec of a judge, or of each of a panel's."""
    members = spec.get("judges")
    if not isinstance(members, list | tuple):
        yield spec
        return
    for one in members:
        if isinstance(one, Mapping):
            yield from _members(one)


def _asked(spec: Mapping[str, Json]) -> list[str]:
    """The hosted models that a judge asks, with their addresses; of a panel those of all."""
    models = [one.get("model") for one in _members(spec)]
    found = [f"{m.get('model')} at {m.get('base_url')}" for m in models if isinstance(m, Mapping)]
    return list(dict.fromkeys(found))


def _models(spec: Mapping[str, Json]) -> set[str]:
    """The names of the models that judge, as far as the spec tells them."""
    found = set()
    for one in _members(spec):
        model = one.get("model")
        name = model.get("model") if isinstance(model, Mapping) else model
        if isinstance(model, Mapping) or isinstance(name, str):
            found.add(str(name))
        elif one.get("check") == "LikelihoodJudge":
            found.add(_BUILT_IN)
    return found


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _resting(record: RunRecord, suite: str, score: str) -> list[Gate]:
    return [
        gate
        for gate in record.gates
        if gate.suite == suite and gate.comparison is not None and gate.comparison.score == score
        if gate.state in ("gated", "advisory")
    ]
