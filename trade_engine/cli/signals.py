"""`submit`, `evaluate`, `decisions`: signals in, decisions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Annotated

import typer

from trade_engine.cli.connecting import engine_at
from trade_engine.cli.files import read_objects
from trade_engine.cli.options import DEFAULT_TARGET, Account, Json, Limit, Strategy, Symbol, Target
from trade_engine.cli.output import OUTCOME_STYLES, clock, complain, outcome, print_json, say, table
from trade_engine.client import (
    CheckResult,
    Decision,
    Failed,
    OrderSide,
    Outcome,
    Result,
    SignalLike,
    Submitted,
    TradeEngineClient,
    to_json,
)

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE|-", help="A JSON signal, an array of them, or one a line; - reads stdin."
    ),
]
REFUSED = 1


def submit(
    file: File, target: Target = DEFAULT_TARGET, account: Account = "", as_json: Json = False
) -> int:
    """Submit signals, and print the engine's decision on each.

    The exit code is 1 if one of them is rejected or cannot be decided.
    """
    with engine_at(target, account) as engine:
        refused = False
        for result in _submitted(engine, file):
            refused |= isinstance(result, Failed) or outcome(result.decision) == "REJECTED"
            _print_result(result, as_json=as_json)
    return REFUSED if refused else 0


def evaluate(
    file: File, target: Target = DEFAULT_TARGET, account: Account = "", as_json: Json = False
) -> int:
    """Ask what the engine would decide now. Nothing is written, nothing is ordered.

    The exit code is 1 if one of the signals would be rejected.
    """
    refused = False
    with engine_at(target, account) as engine:
        for signal in read_objects(file):
            decision = engine.evaluate(signal)
            refused |= outcome(decision) == "REJECTED"
            if as_json:
                print_json(decision)
            else:
                _say_decision(decision)
                _print_checks(decision.checks)
    return REFUSED if refused else 0


def decisions(
    signal_id: Annotated[
        str, typer.Argument(help="Show this signal's decision, with every check.")
    ] = "",
    outcome_wanted: Annotated[
        str,
        typer.Option("--outcome", metavar="WORD", help="APPROVED, REJECTED or NO_ACTION only."),
    ] = "",
    strategy: Strategy = "",
    symbol: Symbol = "",
    limit: Limit = 50,
    target: Target = DEFAULT_TARGET,
    account: Account = "",
    as_json: Json = False,
) -> None:
    """List decisions, newest first; or show one with all of its checks."""
    with engine_at(target, account) as engine:
        if signal_id:
            _show(engine.get_decision(signal_id), as_json=as_json)
            return
        wanted = _outcome_of(outcome_wanted)
        listed = islice(
            engine.list_decisions(
                strategy_id=strategy, symbol=symbol, outcome=wanted, page_size=min(limit, 200)
            ),
            limit,
        )
        if as_json:
            for decision in listed:
                print_json(decision)
            return
        table(
            ["sequence", "time", "outcome", "strategy", "symbol", "signal", "message"],
            (
                [
                    str(each.sequence),
                    clock(each.decide_time),
                    outcome(each),
                    each.signal.strategy_id,
                    each.signal.symbol,
                    each.signal_id,
                    each.message,
                ]
                for each in listed
            ),
            "No decisions yet.",
        )


def _submitted(engine: TradeEngineClient, file: str) -> Iterator[Result]:
    """One signal in a file goes by itself; more of them, or a pipe, by a stream."""
    signals: Iterable[SignalLike] = read_objects(file)
    if file != "-":
        first = list(islice(signals, 2))
        if len(first) == 1:
            yield engine.submit(first[0])
            return
        signals = chain(first, signals)
    yield from engine.submit_many(signals)


def _print_result(result: Result, *, as_json: bool) -> None:
    match result:
        case Submitted() if as_json:
            print_json({"decision": to_json(result.decision), "replayed": result.replayed})
        case Submitted():
            _say_decision(result.decision, replayed=result.replayed)
        case Failed(signal_id, error):
            complain(f"signal {signal_id}: {error}")


def _say_decision(decision: Decision, *, replayed: bool = False) -> None:
    name = outcome(decision)
    again = " (decided before)" if replayed else ""
    style = OUTCOME_STYLES.get(name, "")
    say(f"{name} {decision.signal_id}{again}: {decision.message}", style)
    if decision.HasField("order"):
        order = decision.order
        side = OrderSide.Name(order.side).removeprefix("ORDER_SIDE_")
        price = f" at {order.limit_price} or better" if order.limit_price else ""
        say(f"  order {decision.order_id}: {side} {order.order_qty} {order.symbol}{price}")


def _show(decision: Decision, *, as_json: bool) -> None:
    if as_json:
        print_json(decision)
        return
    _say_decision(decision)
    say(
        f"  sequence {decision.sequence}, decided {clock(decision.decide_time)} UTC, account "
        f"{decision.account_id}, limits {decision.limits_version}"
    )
    sizing = decision.sizing
    if sizing.reference_price:
        capped = f", capped by {sizing.capped_by}" if sizing.capped_by else ""
        say(
            f"  reference {sizing.reference_price}: target {sizing.target_quantity}, held "
            f"{sizing.current_quantity}, working {sizing.working_quantity}, to order "
            f"{sizing.order_quantity} worth {sizing.order_notional or '?'}{capped}"
        )
    _print_checks(decision.checks)


def _print_checks(checks: Iterable[CheckResult]) -> None:
    table(
        ["check", "", "limit", "observed", "projected", "unit", "scope", "limit set in", "message"],
        (
            [
                each.name,
                "passed" if each.passed else each.reason,
                each.limit,
                each.observed,
                each.projected,
                each.unit,
                each.scope,
                each.source,
                each.message,
            ]
            for each in checks
        ),
        "No checks were made.",
    )


def _outcome_of(wanted: str) -> Outcome.ValueType:
    if not wanted:
        return Outcome.ValueType(0)
    try:
        return Outcome.Value(f"OUTCOME_{wanted.upper()}")
    except ValueError:
        raise typer.BadParameter(
            f"{wanted!r}: APPROVED, REJECTED or NO_ACTION", param_hint="--outcome"
        ) from None
