"""Run published profit-and-loss examples through the ledger: `python -m tools.pnl_examples FILE`.

The file holds `examples`: trades, what their source publishes after some of them (`published`),
and what exact average cost gives after each (`computed_average_cost`). Examples of another method
than AVERAGE are skipped and counted. Values are compared to the precision to which they are
stated. Exits 1 when an example failed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tools.reference import Case, Outcome, main
from trade_engine.domain.money import ONE, ZERO, text
from trade_engine.domain.position import Position
from trade_engine.domain.signal import Side
from trade_engine.portfolio.ledger import book

HALF = Decimal("0.5")
COMPUTED_DECIMALS = 6
"""Computed values are written without their trailing zeros: at least this many are meant."""
ABOUT_A_VALUE = {"after_trade", "mark", "note", "notes", "source"}
"""Keys of a row of expectations that state no result."""


@dataclass(slots=True)
class _After:
    """The position after a trade, and what the trade itself realized (gross of fees)."""

    position: Position
    realized_this: Decimal
    multiplier: Decimal

    def value(self, name: str, mark: Decimal | None) -> Decimal | None:
        """The ledger's value under the name that the file gives it; None for an unknown name."""
        held = self.position
        match name:
            case "position":
                return held.quantity
            case "avg_price":
                return held.avg_px(self.multiplier)
            case "realized_this":
                return self.realized_this
            case "realized_gross":
                return held.realized_pnl
            case "realized_net":
                return held.realized_pnl - held.fees
            case "fees":
                return held.fees
            case "unrealized":
                return None if mark is None else held.unrealized_pnl(mark, self.multiplier)
            case _:
                return None


def check(example: Case) -> Outcome:
    """Book the example's trades and compare every value that is stated after each."""
    if example["method"] != "AVERAGE":
        return Outcome(skipped=f"method {example['method']}")
    states = _states(example)
    outcome = Outcome()
    computed = example.get("computed_average_cost") or []
    for number, row in enumerate(computed, start=1):
        where = f"computed, after trade {number}"
        outcome.faults += _faults(outcome, where, states[number - 1], row, example)
    for row in example.get("published") or []:
        number = row["after_trade"]
        where = f"published, after trade {number}"
        faults = _faults(outcome, where, states[number - 1], row, example)
        if computed and example.get("verified") is False:  # known not to be plain average cost
            outcome.notes += faults
        else:
            outcome.faults += faults
    if not outcome.compared:
        outcome.faults.append("it states nothing that could be compared")
    return outcome


def _states(example: Case) -> list[_After]:
    multiplier = Decimal(example.get("multiplier") or ONE)
    position = Position("example", "X")
    states = []
    for trade in example["trades"]:
        booked = book(
            position,
            Side(trade["side"].upper()),
            Decimal(trade["qty"]),
            Decimal(trade["price"]),
            Decimal(trade.get("fee") or ZERO),
            multiplier,
        )
        after = Position.from_json(position.to_json())
        states.append(_After(after, booked.realized_pnl, multiplier))
    return states


def _faults(
    outcome: Outcome, where: str, after: _After, row: dict[str, Any], example: Case
) -> list[str]:
    """Compare a row of expectations; the outcome counts them and notes what has no counterpart."""
    stated_mark = row.get("mark") or example.get("mark")
    mark = None if stated_mark is None else Decimal(stated_mark)
    faults = []
    for name in sorted(row.keys() - ABOUT_A_VALUE):
        if row[name] is None:
            continue
        ours = after.value(name, mark)
        if ours is None:
            outcome.notes.append(f"{where}: {name} was not compared")
            continue
        outcome.compared += 1
        decimals = COMPUTED_DECIMALS if where.startswith("computed") else 0
        if not agrees(ours, Decimal(row[name]), decimals):
            faults.append(f"{where}: {name} is {row[name]}, the ledger has {text(ours)}")
    return faults


def agrees(ours: Decimal, stated: Decimal, min_decimals: int = 0) -> bool:
    """Whether ours rounds (half either way) to what is stated, at the decimals that it states."""
    exponent = stated.as_tuple().exponent
    if not isinstance(exponent, int):
        raise TypeError(f"{stated} is not a finite number")
    return abs(ours - stated) <= HALF.scaleb(min(exponent, -min_decimals))


if __name__ == "__main__":
    sys.exit(main("pnl_examples", "examples", check))
