"""Ways to spoil the evidence of a clean run, each to be found by one invariant of the checker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import orjson

from tests.faults.evidence import Evidence, Row
from tests.workload.prefixes import HELD_TO
from trade_engine.storage.redis import keys

Forge = Callable[[Evidence], object]
STATE = keys.state("default")


def _payload(entry: Row, change: Callable[[Any], object]) -> None:
    payload = orjson.loads(entry["payload"])
    change(payload)
    entry["payload"] = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS).decode()


def _an_order(evidence: Evidence) -> Row:
    return next(each for each in evidence.messages if each["message"]["kind"] == "ORDER")


def _an_event(evidence: Evidence, what: str) -> Row:
    return next(each for each in evidence.events if each["what"] == what)


def _an_entry(evidence: Evidence, kind: str) -> Row:
    return next(each for each in evidence.journal if each["kind"] == kind)


def _a_replacement(evidence: Evidence) -> Row:
    return next(each for each in evidence.messages if each["message"]["kind"] == "REPLACE")


def _replaced(evidence: Evidence) -> Row:
    """The order of the record that the broker replaced."""
    [order_id] = {
        each["cl_ord_id"]
        for each in evidence.reports
        if each["report"].get("exec_type") == "REPLACED"
    } & {_a_replacement(evidence)["cl_ord_id"]}
    return next(each for each in evidence.orders if each["order_id"] == order_id)


def _wish(evidence: Evidence) -> Row:
    """The decision that approved the first replacement."""
    cl_ord_id = _a_replacement(evidence)["message"]["terms"]["cl_ord_id"]
    return next(
        each
        for each in evidence.journal
        if each["kind"] == "DECISION" and cl_ord_id in each["payload"]
    )


def _grow_the_wish(evidence: Evidence) -> None:
    """Let the terms that were asked for pass every limit of an order."""
    wish = _wish(evidence)
    asked = evidence.journal[evidence.journal.index(wish) + 1]
    assert asked["kind"] == "REPLACE_REQUESTED"
    _payload(asked, lambda payload: payload["replacement"].update(order_qty="1000000"))


def _replace_past_a_halt(evidence: Evidence) -> None:
    """Let everything have been halted just before the replacement came."""
    arrived_ns = _a_replacement(evidence)["arrived_at_ns"]
    evidence.messages = [each for each in evidence.messages if each["message"]["kind"] == "REPLACE"]
    _halt(evidence, "DRAINED", [], arrived_at_ns=arrived_ns)


def _approval(evidence: Evidence) -> Row:
    return next(
        each
        for each in evidence.journal
        if each["kind"] == "DECISION" and orjson.loads(each["payload"])["decision"]["order"]
    )


def _halt(
    evidence: Evidence,
    result: str,
    in_doubt: list[str],
    mode: str = "HALTED",
    arrived_at_ns: int = 0,
    journaled: Sequence[str] | None = None,
) -> None:
    before_ns = (arrived_at_ns or _an_order(evidence)["arrived_at_ns"]) - 1_000_000
    evidence.events = [each for each in evidence.events if each["what"] != "resume"]
    evidence.events.append(
        {
            "what": "halt", "at_ns": before_ns, "asked_ns": before_ns - 1, "scope": "GLOBAL",
            "mode": mode, "result": result, "in_doubt": in_doubt,
            "journaled": evidence.account_ids if journaled is None else journaled,
        }
    )  # fmt: skip


def _approved_past_a_halt(evidence: Evidence) -> None:
    """No journal took the halt, and an order was approved all the same."""
    [approved_ns] = (
        each["recorded_at_ns"]
        for each in evidence.journal
        if each["kind"] == "DECISION"
        and (order := orjson.loads(each["payload"])["decision"]["order"])
        and order["order_id"] == _an_order(evidence)["cl_ord_id"]
    )
    _halt(evidence, "IN_DOUBT", [], arrived_at_ns=approved_ns, journaled=[])


def _halt_in_the_journal(evidence: Evidence, state: str) -> None:
    approval = _approval(evidence)
    payload = {"state": {"scope": "GLOBAL", "state": state}}
    entry = {**approval, "kind": "TRADING_STATE", "payload": orjson.dumps(payload).decode()}
    evidence.journal.insert(evidence.journal.index(approval), entry)


def _tighten(name: str) -> Forge:
    """Let all limits of a name have been so tight that the first order passed them."""

    def forge(evidence: Evidence) -> None:
        def tighten(payload: Any) -> None:
            for limit in payload["limits"]:
                if limit["name"] == name:
                    limit["value"] = "0.0001"

        for entry in evidence.journal:
            if entry["kind"] == "LIMITS_CHANGED":
                _payload(entry, tighten)
            if entry["kind"] == "ACCOUNT_OPENED" and name == "borrowing_max":
                _payload(entry, lambda payload: payload.update(opening_cash="0"))

    return forge


def _updates(evidence: Evidence) -> list[Row]:
    return [each for each in evidence.events if each["what"] == "update"]


def _swap_updates(evidence: Evidence) -> None:
    first = _updates(evidence)[0]
    same = (first["subscriber"], first["account_id"])
    one, two = [
        each for each in _updates(evidence) if (each["subscriber"], each["account_id"]) == same
    ][:2]
    at, other = evidence.events.index(one), evidence.events.index(two)
    evidence.events[at], evidence.events[other] = two, one


FORGERIES: dict[str, tuple[int, Forge]] = {
    "an order arrives twice": (1, lambda e: e.messages.append(_an_order(e))),
    "an order has another price": (
        1,
        lambda e: _an_order(e)["message"]["terms"].update(price="1"),
    ),
    "new terms arrive twice": (1, lambda e: e.messages.append(_a_replacement(e))),
    "new terms are others": (
        1,
        lambda e: _a_replacement(e)["message"]["terms"].update(order_qty="77777"),
    ),
    "a broker's order is unknown": (1, lambda e: _an_order(e).update(cl_ord_id="o-rogue")),
    "an answer is not in the journal": (2, lambda e: _an_event(e, "ack").update(signal_id="none")),
    "a repeat is answered otherwise": (
        2,
        lambda e: e.events.append({**_an_event(e, "ack"), "decision": "CgNzLTE="}),
    ),
    "a decision is not indexed": (2, lambda e: e.decisions.clear()),
    "limits are not where they were acknowledged": (
        2,
        lambda e: _an_event(e, "limits").update(version="none"),
    ),
    "limits have not the numbers asked for": (
        2,
        lambda e: _an_event(e, "limits")["values"].update(gross_exposure_max=7),
    ),
    **{f"{name} is passed": (3, _tighten(name)) for name in HELD_TO},
    "a decision was made by other limits": (
        3,
        lambda e: _payload(_approval(e), lambda p: p["decision"].update(limits_version="none")),
    ),
    "new terms pass a limit": (3, _grow_the_wish),
    "new terms were decided by other limits": (
        3,
        lambda e: _payload(_wish(e), lambda p: p["decision"].update(limits_version="none")),
    ),
    "the approval of new terms is gone": (4, lambda e: e.journal.remove(_wish(e))),
    "new terms were sent past a halt": (5, _replace_past_a_halt),
    "an approval is gone": (4, lambda e: e.journal.remove(_approval(e))),
    "an order was sent past a halt": (5, lambda e: _halt(e, "DRAINED", [])),
    "an order in doubt was not named": (5, lambda e: _halt(e, "IN_DOUBT", ["o-another"])),
    "an order was approved where no journal took the halt": (5, _approved_past_a_halt),
    "an order opened while it was to reduce": (5, lambda e: _halt(e, "DRAINED", [], "REDUCE_ONLY")),
    "an order was approved past a halt": (5, lambda e: _halt_in_the_journal(e, "HALTED")),
    "an order opened past the journal": (5, lambda e: _halt_in_the_journal(e, "REDUCE_ONLY")),
    "an update is missing": (6, lambda e: e.events.remove(_updates(e)[3])),
    "the last update is missing": (6, lambda e: e.events.remove(_updates(e)[-1])),
    "an update comes twice": (6, lambda e: e.events.append(_updates(e)[-1])),
    "updates come in another order": (6, _swap_updates),
    "an entry is changed": (
        7,
        lambda e: _payload(_approval(e), lambda p: p["decision"].update(message="Fine.")),
    ),
    "an entry is deleted": (7, lambda e: e.journal.pop(5)),
    "the tail is cut off": (7, lambda e: e.journal.pop()),
    "a field in Redis differs": (8, lambda e: e.redis[STATE]["value"].update(summary="{}")),
    "a field is lost in Redis": (8, lambda e: e.redis[STATE]["value"].pop("epoch")),
    "the controls are lost in Redis": (8, lambda e: e.redis.pop(keys.CONTROLS)),
    "a halt stands in Redis alone": (
        8,
        lambda e: e.redis[keys.CONTROLS]["value"].update({"SYMBOL:IBM": '{"state":"HALTED"}'}),
    ),
    "a fill is lost": (9, lambda e: e.fills.pop()),
    "a position is off": (9, lambda e: e.positions[0].update(quantity="12345")),
    "cash is off": (9, lambda e: e.accounts[0]["summary"].update(cash="1")),
    "CumQty is off": (9, lambda e: e.orders[0].update(cum_qty="12345")),
    "terms are not the broker's": (9, lambda e: _replaced(e).update(order_qty="12345")),
    "a status is illegal": (9, lambda e: e.orders[0].update(ord_status="SUSPENDED")),
    "it was never quiet": (
        10,
        lambda e: _an_event(e, "settled").update(quiet=False, left=["an order"]),
    ),
    "an order is left open": (10, lambda e: e.orders[0].update(is_open=True)),
    "a key has no end": (10, lambda e: e.redis.update({"te:{x}:y": {"ttl_ms": -1, "value": ""}})),
    "a lease has no end": (10, lambda e: e.leases[0].update(stuck=True)),
    "a connection is left": (10, lambda e: e.sessions_left.append({"state": "idle"})),
    "a transaction stands open": (10, lambda e: e.sessions.append({"open_s": 9.0})),
    "an engine did not stop well": (10, lambda e: e.exit_codes.update({"engine-0": 1})),
    "the secret is logged": (11, lambda e: e.logs.update({"engine-0": f"a\nurl {e.secret}"})),
    "the secret is a label": (11, lambda e: e.metrics.update({"engine-0": f"x{{u='{e.secret}'}}"})),
    "the secret is in an error": (
        11,
        lambda e: e.events.append({"what": "refused", "details": e.secret}),
    ),
}
"""Each by its name, with the invariant that finds it."""


def forged(evidence: Evidence) -> Iterator[tuple[str, int, Evidence]]:
    """Each forgery's name, the invariant that finds it, and the evidence with it."""
    for name, (number, forge) in FORGERIES.items():
        spoiled = deepcopy(evidence)
        forge(spoiled)
        yield name, number, spoiled
