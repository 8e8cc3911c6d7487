"""What one test claims: noted when a comparison is made, and again when its truth is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.errors import Undecided
from harness.plugin.items import gate_name
from harness.plugin.places import caller, is_asserted
from harness.plugin.state import SPOKEN, STATE

if TYPE_CHECKING:
    from harness.decision.claims import Claim
    from harness.decision.money_claims import MoneyClaim
    from harness.plugin.places import Place
    from harness.run.selection import Arm


class Hearing:
    """The claims of one test about one candidate.

    A claim becomes a gate when its truth is asked, by ``assert`` or otherwise: it then stands in the decision
    as what the evidence says of it. One that says "below a number" may mean "too bad", as in
    ``if candidate.scores(x) < 0.5: return``, so it is a gate only where an ``assert`` asks for it.
    """

    def __init__(self, item: pytest.Item, arm: Arm, suite: str) -> None:
        self._item, self._arm, self._suite = item, arm, suite
        self._state = item.config.stash[STATE]
        self._open: dict[
            int, tuple[Claim, Place, str]
        ] = {}  # by identity: equal claims are made at two places
        self._asked: dict[int, tuple[Claim, Place]] = {}  # pytest asks a claim that failed a second time

    def made(self, claim: Claim) -> None:
        """Note a comparison; it has to be asserted before the test ends."""
        place = caller()
        self._open[id(claim)] = claim, place, f"made on line {place.line} and never asserted"

    def settle(self, claim: Claim) -> bool:
        """The truth of a claim, which is a gate from now on.

        Raises:
            Undecided: the evidence shows neither.
        """
        from harness.records import ScoreVector
        from harness.report.printable import printable

        asked, known = caller(), self._open.get(id(claim)) or self._asked.get(id(claim))
        made = known[1] if known else asked
        is_below = not isinstance(claim.candidate, ScoreVector)
        if is_below and id(claim) in self._open and not is_asserted(asked):
            why = f"asked for on line {asked.line} and never asserted"
            self._open[id(claim)] = claim, made, why
            return claim.outcome == "shown"
        self._open.pop(id(claim), None)
        self._asked[id(claim)] = claim, made
        place = made.shown(self._state.settings.root)
        gate = self._state.session().record_claim(self._arm, self._suite, self._name, claim, place)
        self._item.stash.setdefault(SPOKEN, []).append(gate)
        if gate.state != "gated":
            return True
        if claim.outcome == "inconclusive":
            raise Undecided(printable(claim.explain()))
        self._state.explained[self._item.nodeid] = printable(claim.explain())
        return claim.outcome == "shown"

    def settle_money(self, claim: MoneyClaim) -> bool:
        """The truth of a claim on money; what is not known is not true.

        Raises:
            Undecided: its interval holds the number.
        """
        from harness.report.printable import printable

        state, arm = self._state, self._arm
        place = caller().shown(state.settings.root)
        gate = state.session().record_money(arm, self._suite, self._name, claim, place)
        self._item.stash.setdefault(SPOKEN, []).append(gate)
        if arm.size != state.session().selection.largest(arm.name):
            return True
        state.explained[self._item.nodeid] = printable(repr(claim))
        if claim.outcome == "inconclusive" and claim.is_known:
            raise Undecided(printable(repr(claim)))
        return claim.outcome == "shown"

    def close(self) -> None:
        """Note the claims that nobody asserted, as gates that are missing."""
        run, root = self._state.session(), self._state.settings.root
        for claim, place, why in self._open.values():
            why = f"its claim was {why}, and it is {claim.outcome}: {claim.comparison.reason}"
            run.record_claim(self._arm, self._suite, self._name, claim, place.shown(root), unasserted=why)
        self._open.clear()

    @property
    def _name(self) -> str:
        return gate_name(self._item)


HEARING: pytest.StashKey[Hearing] = pytest.StashKey()
