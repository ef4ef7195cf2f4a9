"""`halt`: stop trading, through an engine, or past one that does not answer."""

from __future__ import annotations

import time
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trade_engine.cli.background import in_background
from trade_engine.cli.connecting import NO_ANSWER
from trade_engine.cli.options import (
    DEFAULT_TARGET,
    Everything,
    Json,
    Reason,
    ScopeAccount,
    ScopeStrategy,
    ScopeSymbol,
    Target,
    scope_of,
)
from trade_engine.cli.output import print_json, say, scope_name
from trade_engine.client import (
    HaltResponse,
    HaltResult,
    RetryPolicy,
    Scope,
    TradeEngineClient,
    TradeEngineError,
    TradingState,
)

if TYPE_CHECKING:
    from trade_engine.cli.second_path import Reached

IN_DOUBT = 1
UNREACHABLE = 3

WITHIN_S = 1.4
"""How long a halt takes at most, the start of Python itself aside."""
ENGINE_FIRST_S = 0.4
"""How long the engine is waited for before the stores are told as well."""
LEAST_S = 0.3
"""How long the stores are waited for, however long everything before took."""
SILENT = "the engine does not answer"


class HaltMode(StrEnum):
    """How strict a halt is."""

    HALTED = "HALTED"
    REDUCE_ONLY = "REDUCE_ONLY"


def halt(
    reason: Reason,
    everything: Everything = False,
    account: ScopeAccount = "",
    strategy: ScopeStrategy = "",
    symbol: ScopeSymbol = "",
    mode: Annotated[
        HaltMode, typer.Option(case_sensitive=False, help="Nothing, or only what reduces.")
    ] = HaltMode.HALTED,
    cancel_open_orders: Annotated[
        bool, typer.Option("--cancel-open-orders", help="Also cancel the orders at brokers.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The engine's data directory, if it is not the usual one."
        ),
    ] = None,
    within: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.5, help="How long this may take.")
    ] = WITHIN_S,
    as_json: Json = False,
) -> int:
    """Stop trading in a scope, on every replica, until `resume`.

    DRAINED means that no order of the scope reaches a broker any more. IN_DOUBT (exit code 1)
    names those that may: halt again until it is DRAINED. An engine that does not answer is passed
    by: the halt goes straight into both stores, and it is said which of them took it.
    """
    scope = scope_of(everything=everything, account=account, strategy=strategy, symbol=symbol)
    began = time.monotonic()

    def ask_the_engine() -> HaltResponse:
        policy = RetryPolicy(timeout_s=within, retry_for_s=within)
        with TradeEngineClient(target, policy=policy) as engine:
            engine.connect(ENGINE_FIRST_S)
            return engine.halt(
                scope,
                reason,
                mode=TradingState.Value(f"TRADING_STATE_{mode.value}"),
                cancel_open_orders=cancel_open_orders,
            )

    asked = in_background(ask_the_engine)
    if _why_no_answer(asked, ENGINE_FIRST_S):
        reached = _told_the_stores(scope, mode, reason, target, data_dir, began + within)
        why = _why_no_answer(asked, began + within - time.monotonic())
        if why:
            return _say_reached(scope, reached, f"{target}: {why}", as_json=as_json)
    return _say_halted(scope, mode, asked.result(), as_json=as_json)


def _told_the_stores(
    scope: Scope,
    mode: HaltMode,
    reason: str,
    target: str,
    data_dir: Path | None,
    deadline: float,
) -> Reached:
    from trade_engine.cli.second_path import (  # noqa: PLC0415  slow to import
        halt_in_stores,
        state_of,
        stores_of,
    )

    field = str(scope.WhichOneof("kind"))
    scope_id = "" if field == "global" else getattr(scope, field)
    state = state_of(field.removesuffix("_id").upper(), scope_id, mode.value, reason)
    stores = stores_of(target, data_dir)
    return halt_in_stores(stores, state, max(LEAST_S, deadline - time.monotonic()))


def _why_no_answer(asked: Future[HaltResponse], wait_s: float) -> str:
    """Why the engine gave no answer; "" when it did.

    Raises:
        TradeEngineError: it refused the halt: it answers, and the halt is wrong.
    """
    try:
        asked.result(max(0.0, wait_s))
    except TimeoutError:
        return SILENT
    except TradeEngineError as error:
        if error.code.name not in NO_ANSWER:
            raise
        return str(error)
    return ""


def _say_halted(scope: Scope, mode: HaltMode, done: HaltResponse, *, as_json: bool) -> int:
    drained = done.result == HaltResult.Value("HALT_RESULT_DRAINED")
    if as_json:
        print_json(done)
    elif drained:
        what = "no order" if mode is HaltMode.HALTED else "no order that adds to a position"
        say(f"DRAINED: {what} of {scope_name(scope)} reaches a broker until resume.", "green")
    else:
        say(f"IN DOUBT: these may still reach a broker; halt {scope_name(scope)} again.", "red")
        for order_id in done.in_doubt_order_ids:
            say(f"  {order_id}")
        unwritten = [each.account_id for each in done.account_sequences if not each.sequence]
        if unwritten:
            say(
                f"The journal of {', '.join(unwritten)} did not take the halt yet: what another "
                "replica had approved there by then may arrive too, and is not named.",
                "red",
            )
    if done.canceled_order_ids and not as_json:
        say(f"Canceled, or asked to be: {', '.join(done.canceled_order_ids)}")
    return 0 if drained else IN_DOUBT


def _say_reached(scope: Scope, reached: Reached, engine: str, *, as_json: bool) -> int:
    """Say what the second path could reach and what it could not."""
    code = IN_DOUBT if reached.somewhere else UNREACHABLE
    if as_json:
        print_json(
            {
                "result": "HALT_RESULT_IN_DOUBT" if reached.somewhere else "NOT_HALTED",
                "in_doubt_order_ids": reached.unsent_order_ids,
                "engine": engine,
                "stores_named_by": reached.named_by,
                "stores": {name: why or "took it" for name, why in reached.stores.items()},
            }
        )
        return code
    say(f"engine      NOT REACHED  {engine}", "red")
    say(f"stores      as named by {reached.named_by}")
    for name, why in reached.stores.items():
        if why:
            say(f"{name:11} NOT REACHED  {why}", "red")
        else:
            say(f"{name:11} took the halt", "green")
    name = scope_name(scope)
    if not reached.somewhere:
        say(f"NOT HALTED: nothing took the halt of {name}. Stop the engines (docs/halt.md).", "red")
        return code
    say(
        f"IN DOUBT: no engine approves anything of {name} any more once it sees this; what was on "
        "its way may arrive. Halt again until it is DRAINED, or stop the engines.",
        "red",
    )
    for order_id in reached.unsent_order_ids:
        say(f"  {order_id}")
    return code
