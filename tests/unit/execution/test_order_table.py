"""Every pair of state and event: where legal ones lead, and that illegal ones change nothing."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from tests.support.orders import REPORTS_TO, chain_in, happen
from trade_engine.domain.execution import CancelReject, ExecType
from trade_engine.domain.order import OrdStatus, TimeInForce
from trade_engine.execution.order_facts import RequestKind
from trade_engine.execution.order_table import PRECEDENCE, TABLE, Event, may_become, may_come

SAMPLE = Path(__file__).parents[2] / "data" / "fix_scenarios_sample.json"

SHORT = {
    "pn": OrdStatus.PENDING_NEW,
    "n": OrdStatus.NEW,
    "pf": OrdStatus.PARTIALLY_FILLED,
    "f": OrdStatus.FILLED,
    "d": OrdStatus.DONE_FOR_DAY,
    "c": OrdStatus.CANCELED,
    "x": OrdStatus.EXPIRED,
    "r": OrdStatus.REJECTED,
    "pc": OrdStatus.PENDING_CANCEL,
    "pr": OrdStatus.PENDING_REPLACE,
    "st": OrdStatus.STOPPED,
    "su": OrdStatus.SUSPENDED,
    "ca": OrdStatus.CALCULATED,
}

# A DAY order for 100 in each state (filled 40 where it is filled in part or ended), and its state
# after each event; a point is a refusal.
GRID = """
                    pn  n pf  f  d  c  x  r pc pr st su ca
NEW                  n  n pf  f  .  .  .  . pc pr st  n  .
DONE_FOR_DAY         d  d  d  d  .  .  .  . pc pr  d  d  d
CANCELED             c  c  c  f  c  .  .  .  c  c  c  c  f
REPLACED             n  n pf pf  d  .  .  . pc pf st su  .
PENDING_CANCEL      pc pc pc pc pc  .  .  . pc pc pc pc  .
STOPPED             st st st  .  .  .  .  . pc pr st st  .
REJECTED             r  r  .  .  .  .  .  .  .  .  r  r  .
SUSPENDED           su su su  .  .  .  .  . pc pr st su  .
PENDING_NEW         pn  .  .  .  .  .  .  .  .  .  .  .  .
CALCULATED          ca ca ca ca  d  .  .  . pc pr ca ca  .
EXPIRED              x  x  x  f  x  .  .  .  x  x  x  x  f
RESTATED             n  n pf  f  d  .  .  . pc pr st  n ca
PENDING_REPLACE     pr pr pr pr pr  .  .  . pc pr pr pr  .
TRADE               pf pf pf  f  d  c  x  r pc pr st su ca
TRADE_CORRECT        n  n pf pf  d  c  x  r pc pr st su ca
TRADE_CANCEL         n  n  n pf  d  c  x  r pc pr st su ca
ORDER_STATUS        pn  n pf  f  d  c  x  r pc pr st su ca
DUPLICATE_REJECTED  pn  n pf  f  d  c  x  r pc pr st su ca
CANCEL_REJECT        .  .  .  .  .  .  .  . pf pf  .  .  .
ORDER_SENT          pn  n pf  f  d  c  x  r pc pr st su ca
CANCEL_REQUEST      pn  n pf  f  d  c  x  r pc pr st su ca
REPLACE_REQUEST     pn  n pf  f  d  .  .  . pc pr st su  .
NEW_DAY             pn  n pf  f  d  c  x  r pc pr st su ca
"""


def cells() -> list[tuple[OrdStatus, Event, OrdStatus | None]]:
    head, *rows = GRID.strip("\n").splitlines()
    found = []
    for row in rows:
        event, *outcomes = row.split()
        for status, outcome in zip(head.split(), outcomes, strict=True):
            found.append((SHORT[status], Event(event), SHORT.get(outcome)))
    return found


def test_the_grid_has_every_event_and_every_state_that_an_order_can_show() -> None:
    pairs = {(status, event) for status, event, _ in cells()}
    assert pairs == {(status, event) for status in REPORTS_TO for event in Event}
    assert set(REPORTS_TO) == set(OrdStatus) - {
        OrdStatus.REPLACED,
        OrdStatus.ACCEPTED_FOR_BIDDING,
    }


def test_every_exec_type_is_an_event_of_the_same_name() -> None:
    assert {each.value for each in ExecType} <= {each.value for each in Event}
    assert set(TABLE) == set(Event)


@pytest.mark.parametrize(("status", "event", "outcome"), cells())
def test_pair(status: OrdStatus, event: Event, outcome: OrdStatus | None) -> None:
    chain = chain_in(status)
    before = copy.deepcopy(chain)
    why = happen(chain, event)
    if outcome is None:
        assert why
        assert chain == before
    else:
        assert why == ""
        assert chain.ord_status is outcome
        assert may_come(status, event)
        assert outcome in may_become(status, event)


@pytest.mark.parametrize("status", REPORTS_TO)
@pytest.mark.parametrize("event", Event)
def test_a_pair_without_a_place_in_the_table_is_refused(status: OrdStatus, event: Event) -> None:
    if may_come(status, event):
        return
    chain = chain_in(status)
    before = copy.deepcopy(chain)
    assert happen(chain, event) == f"{event} cannot come while the order is {status}"
    assert chain == before


GTC_GRID = {
    (OrdStatus.DONE_FOR_DAY, Event.NEW_DAY): OrdStatus.PARTIALLY_FILLED,
    (OrdStatus.DONE_FOR_DAY, Event.RESTATED): OrdStatus.PARTIALLY_FILLED,
    (OrdStatus.DONE_FOR_DAY, Event.TRADE): OrdStatus.DONE_FOR_DAY,
    (OrdStatus.CALCULATED, Event.NEW_DAY): OrdStatus.CALCULATED,  # filled: nothing stands again
}


@pytest.mark.parametrize(("pair", "outcome"), GTC_GRID.items())
def test_good_till_canceled_orders_live_on(
    pair: tuple[OrdStatus, Event], outcome: OrdStatus
) -> None:
    status, event = pair
    chain = chain_in(status, TimeInForce.GTC)
    assert happen(chain, event) == ""
    assert chain.ord_status is outcome
    assert chain.leaves_qty == chain.order_qty - chain.cum_qty
    assert outcome in may_become(status, event)


@pytest.mark.parametrize("status", REPORTS_TO)
def test_a_refused_request_uncovers_the_state_below(status: OrdStatus) -> None:
    """Whatever happened between request and refusal, the refusal only takes the request away."""
    if status in (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE):
        return
    chain = chain_in(status)
    chain.request(RequestKind.CANCEL, "Y")
    reject = CancelReject("Y", 3, unknown_order=True)
    assert chain.reject_refusal(reject) == ""
    chain.reject_request(reject)
    assert chain.ord_status is status
    assert chain.requests == {}


def test_precedence_is_that_of_the_specification() -> None:
    stated = json.loads(SAMPLE.read_text(encoding="utf-8"))["ord_status_precedence"]
    for ranks in stated.values():
        if isinstance(ranks, str):
            continue
        ours = {
            name: PRECEDENCE.index(OrdStatus(name.upper().replace(" ", "_"))) for _, name in ranks
        }
        for rank, name in ranks:
            for other_rank, other in ranks:
                if rank > other_rank:
                    assert ours[name] < ours[other]
