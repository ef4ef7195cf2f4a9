"""What must be true of every run, whatever happened in it: pure judgements of its evidence.

Each check yields its violations in words. They fold the evidence themselves, by rules as plain as
they can be, rather than trust the engine's own code: where that is used (reading a rulebook, the
canonical fold, the chain's hash) it is held against something that the engine did not compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.faults.evidence import Evidence, Violations
from tests.faults.invariants.books import books_are_the_fold, within_limits
from tests.faults.invariants.chain import chain_holds
from tests.faults.invariants.clients import answers_stand, streams_equal_the_journal
from tests.faults.invariants.leftovers import (
    no_secret_is_told,
    nothing_is_stuck,
    redis_is_the_fold,
)
from tests.faults.invariants.orders import (
    approved_first,
    nothing_after_a_halt,
    one_broker_order_per_signal,
)

CHECKS: dict[int, Callable[[Evidence], Violations]] = {
    1: one_broker_order_per_signal,
    2: answers_stand,
    3: within_limits,
    4: approved_first,
    5: nothing_after_a_halt,
    6: streams_equal_the_journal,
    7: chain_holds,
    8: redis_is_the_fold,
    9: books_are_the_fold,
    10: nothing_is_stuck,
    11: no_secret_is_told,
}


NOT_JUDGED = "the evidence cannot be judged"
"""What is said where a check itself fails: a violation, and no proof that it sees one."""


def check(evidence: Evidence, numbers: Iterable[int] = CHECKS) -> dict[int, list[str]]:
    """The violations of each invariant that is violated; a check that fails is a violation too."""
    found: dict[int, list[str]] = {}
    for number in numbers:
        judge, said = CHECKS[number], list[str]()
        try:
            said.extend(judge(evidence))
        except Exception as error:  # noqa: BLE001  evidence out of all order must not hide the rest
            said.append(f"{NOT_JUDGED}: {error!r}")
        if said:
            found[number] = said
    return found
