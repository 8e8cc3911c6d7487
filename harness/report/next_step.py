"""What to do after a decision, in a sentence or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.decision.go_power import GoForecast
from harness.records import CandidateInfo, Decision, Gate, Outcome, Role, RunRecord, Verdict
from harness.report.go_forecast import rounded_up
from harness.report.sentences import baselines_of, cut, listed, sentences
from harness.report.trial_pairs import size_label


def next_step(record: RunRecord, decision: Decision, own: Sequence[Gate], forecast: GoForecast | None) -> str:
    """The next step."""
    info = next((one for one in record.candidates if one.name == decision.candidate), None)
    if decision.verdict is Verdict.GO:
        return sentences(_after_go(record, decision, own, info))
    if decision.verdict is Verdict.NO_GO:
        return sentences(_after_no_go(record, decision, own, info))
    return sentences([*_after_inconclusive(record, decision, own, forecast)][:2])


def _after_go(
    record: RunRecord, decision: Decision, own: Sequence[Gate], info: CandidateInfo | None
) -> Iterator[str]:
    label = size_label(decision.size, None, decision.candidate)
    if record.rehearsal:
        yield "Run it against the real service: this was a rehearsal"
        return
    is_exported = info is not None and decision.size is not None and "ship" in info.spec
    yield f"Ship {label}" + (f": harness export RUN {label} --to FOLDER" if is_exported else "")
    advised = [g.comparison.score for g in own if g.state == "advisory" and g.comparison]
    if advised:
        yield f"Label 25 of its answers (harness label RUN): then {listed(advised)} decides, too"


def _after_no_go(
    record: RunRecord, decision: Decision, own: Sequence[Gate], info: CandidateInfo | None
) -> Iterator[str]:
    refuted = [g for g in own if g.comparison and g.comparison.outcome is Outcome.REFUTED]
    kept = baselines_of([gate for gate in refuted if gate.against] or own)
    yield f"Keep {kept[0]}, and read the rows that get worse" if kept else "Read the rows that it gets wrong"
    watched = {suite.name for suite in record.suites if suite.prompt_digest is None}  # beside the task
    forgot = any(g.suite in watched and g.role is Role.GUARD and g.state == "gated" for g in refuted)
    if decision.size is None or info is None:
        yield "Then change its prompt or its model, and run again"
    elif forgot and len(watched) < len(record.suites):
        rows = "more general rows" if info.spec.get("replay") else "general rows (replay=)"
        yield f"It forgot what lies beside its task: train again with {rows}, for fewer epochs or more gently"
    else:
        yield "Train again with rows like those, or with better ones"


def _after_inconclusive(
    record: RunRecord, decision: Decision, own: Sequence[Gate], forecast: GoForecast | None
) -> Iterator[str]:
    if decision.level is not None:
        yield f"Judge {decision.candidate} alone on held-out rows that none of them has seen"
        return
    if decision.obstacles:
        yield "Mend what is named under “why”, and run again"
    if any(g.state == "missing" or (g.state == "gated" and g.comparison is None) for g in own):
        yield "Run every test of the suites"
    targets = [gate for gate in own if gate.role is Role.TARGET]
    if not targets:
        yield "Write a test that asks for an improvement: assert candidate > baseline"
    elif not any(gate.state == "gated" for gate in targets) and any(g.state == "advisory" for g in targets):
        yield "Label 25 of its answers (harness label RUN), then decide with them (harness decide RUN)"
    still_open = [
        g for g in own if g.state == "gated" and g.comparison and g.comparison.outcome is Outcome.INCONCLUSIVE
    ]
    if any(gate.comparison and gate.comparison.failures for gate in still_open):
        yield "Ask again for the answers that never came"
    by_labels = [gate.correction.labels_needed for gate in still_open if gate.correction is not None]
    wanted = [needed for needed in by_labels if needed is not None]
    if wanted:
        yield f"Label about {max(wanted):,} rows in all (harness label RUN): what is open rests on them"
    elif by_labels:
        yield "Its gain is too small for labels of these rows to show: test on more rows, or train on more"
    elif still_open:
        yield _more_rows(record, still_open, forecast)


def _more_rows(record: RunRecord, still_open: Sequence[Gate], forecast: GoForecast | None) -> str:
    now = {suite.name: len(suite.rows) for suite in record.suites}
    needed = dict(forecast.rows) if forecast is not None and forecast.rows else {}
    if forecast is not None and forecast.hopeless:
        name = listed([cut(gate.name, 50) for gate in forecast.hopeless])
        return f"More rows cannot show {name}: give it a margin, or a better candidate"
    if not needed:
        for gate in still_open:
            rows = gate.comparison.rows_needed if gate.comparison else None
            if rows is not None:
                needed[gate.suite] = max(rows, needed.get(gate.suite, 0))
    more = [
        f"about {rounded_up(rows):,} of {suite} (now {now.get(suite, 0):,})"
        for suite, rows in needed.items()
        if rows > now.get(suite, 0)
    ]
    if not more:
        return "Test on many more held-out rows, or train on more"
    truth = "if it is as good as it looks"
    if forecast is not None and any(gate.role is Role.GUARD for gate in forecast.gates):
        truth = "if it gains what it seems to and loses nothing"
    return f"Test on more held-out rows: {listed(more)} show it 4 times in 5, {truth}"
