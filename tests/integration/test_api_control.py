"""ControlService and PortfolioService over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from tests.support.api_server import Serving, serving, told, until
from tests.support.memory_engine import START_NS
from trade_engine.domain.difference import Difference, DifferenceKind
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.market import Quote
from trade_engine.domain.position import Position
from trade_engine.domain.trading_state import (
    GLOBAL,
    Scope,
    ScopeKind,
    ScopeState,
    TradingState,
)
from trade_engine.execution.commands import (
    AcceptDifferenceCommand,
    HaltCauseStands,
    HaltCommand,
    ResumeCommand,
)
from trade_engine.v1 import control_service_pb2 as pb
from trade_engine.v1 import portfolio_service_pb2, signal_service_pb2

SIGNAL = """{"signal": {"signal_id": "s-1", "strategy_id": "momentum", "symbol": "AAPL",
    "side": "BUY", "confidence": 0.8, "target_exposure": 1000, "time_horizon": "INTRADAY"}}"""
EVERYTHING = json_format.Parse('{"global": true}', pb.Scope())


@pytest.fixture
async def api() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


async def test_the_json_of_the_contract_halts_everything(api: Serving) -> None:
    written = '{"scope": {"global": true}, "reason": "feed shows impossible prices"}'

    answer = await api.control.Halt(json_format.Parse(written, pb.HaltRequest()))

    assert api.engine.halts == [
        HaltCommand(
            scope=GLOBAL,
            state=TradingState.HALTED,
            reason="feed shows impossible prices",
            operator="anonymous",
            cancel_open_orders=False,
            request_id="",
        )
    ]
    assert answer == pb.HaltResponse(
        result=pb.HALT_RESULT_IN_DOUBT,
        in_doubt_order_ids=["o-doubt"],
        canceled_order_ids=["o-1", "o-2"],
        account_sequences=[
            pb.AccountSequence(account_id="b", sequence=0),
            pb.AccountSequence(account_id="main", sequence=7),
        ],
    )


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (pb.Scope(account_id="main"), Scope(ScopeKind.ACCOUNT, "main")),
        (pb.Scope(strategy_id="pairs"), Scope(ScopeKind.STRATEGY, "pairs")),
        (pb.Scope(symbol="BTC/USD"), Scope(ScopeKind.SYMBOL, "BTC/USD")),
    ],
)
async def test_a_halt_of_a_scope(api: Serving, given: pb.Scope, meant: Scope) -> None:
    await api.control.Halt(
        pb.HaltRequest(
            scope=given,
            mode=pb.TRADING_STATE_REDUCE_ONLY,
            reason="r",
            cancel_open_orders=True,
            request_id="r-1",
        )
    )

    assert api.engine.halts == [
        HaltCommand(meant, TradingState.REDUCE_ONLY, "r", "anonymous", True, "r-1")
    ]


async def test_a_halt_goes_on_when_its_client_has_gone(api: Serving) -> None:
    api.engine.gate = asyncio.Event()
    finished = asyncio.Event()
    halt = api.engine.halt

    async def watched(request: HaltCommand) -> Any:
        result = await halt(request)
        finished.set()
        return result

    api.engine.halt = watched  # type: ignore[method-assign]
    with pytest.raises(grpc.aio.AioRpcError):
        await api.control.Halt(pb.HaltRequest(scope=EVERYTHING, reason="r"), timeout=0.1)
    await until(lambda: api.count("Halt", "CANCELLED"))
    api.engine.gate.set()

    await finished.wait()


async def test_a_resume_names_what_still_holds_trading_back(api: Serving) -> None:
    api.engine.remaining = [
        ScopeState(GLOBAL, TradingState.HALTED, "why", "engine", START_NS),
        ScopeState(Scope(ScopeKind.SYMBOL, "X"), TradingState.REDUCE_ONLY, "", "a", START_NS + 1),
    ]

    answer = await api.control.Resume(
        pb.ResumeRequest(
            scope=pb.Scope(account_id="main"), reason="fixed", request_id="r-2", override=True
        )
    )

    scope = Scope(ScopeKind.ACCOUNT, "main")
    assert api.engine.resumes == [ResumeCommand(scope, "fixed", "anonymous", "r-2", True)]
    assert answer.account_sequences == [pb.AccountSequence(account_id="main", sequence=8)]
    assert [(each.state, each.reason, each.operator) for each in answer.remaining] == [
        (pb.TRADING_STATE_HALTED, "why", "engine"),
        (pb.TRADING_STATE_REDUCE_ONLY, "", "a"),
    ]
    assert [each.scope for each in answer.remaining] == [EVERYTHING, pb.Scope(symbol="X")]
    assert answer.remaining[1].set_time.ToNanoseconds() == START_NS + 1


async def test_a_resume_whose_cause_stands_is_refused(api: Serving) -> None:
    api.engine.failure = HaltCauseStands("daily loss", cause="DAILY_LOSS_LIMIT", limit="5000")

    with pytest.raises(grpc.RpcError) as caught:
        await api.control.Resume(pb.ResumeRequest(scope=EVERYTHING, reason="r"))

    error = told(caught.value)
    assert (error.code, error.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "HALT_CAUSE_STANDS",
    )
    assert error.metadata == {"cause": "DAILY_LOSS_LIMIT", "limit": "5000"}


async def test_the_status_tells_what_cannot_be_had_as_empty(api: Serving) -> None:
    answer = await api.control.GetStatus(pb.GetStatusRequest())

    assert (answer.version, answer.replica_id) == ("0.1.0", "replica-1")
    assert (answer.stores.postgres, answer.stores.redis) == ("ok", "no answer")
    [account] = answer.accounts
    assert account == pb.AccountStatus(
        account_id="main",
        trading_state=pb.TRADING_STATE_REDUCE_ONLY,
        sequence=9,
        redis_sequence=8,
        gate_reason="rebuilding risk state",
        open_orders=1,
        in_doubt_orders=2,
        queued_orders=3,
        cash="-10.5",
        realized_pnl="0",
        gross_exposure="1000",
        limits_version="v1",
        broker="paper",
        sender="replica-1",
        active_raises=account.active_raises,
    )
    assert [each.name for each in account.active_raises] == ["quarter-end"]


def quote(symbol: str, bid: str | None, ask: str | None, last: str | None = None) -> Quote:
    prices = [None if price is None else Decimal(price) for price in (bid, ask, last)]
    return Quote(symbol, prices[0], prices[1], None, None, prices[2], START_NS, "test")


@pytest.fixture
async def holding(api: Serving) -> Serving:
    api.engine.record.positions = [
        Position("a", "AAPL", Decimal(-10), Decimal(-1500), Decimal("2.5"), Decimal(1)),
        Position("a", "ES", Decimal(2), Decimal(80_000)),
        Position("b", "AAPL"),
        Position("b", "CROSSED", Decimal(1), Decimal(5)),
        Position("b", "UNQUOTED", Decimal(3), Decimal(10)),
    ]
    await api.engine.publish_quotes(
        [
            quote("AAPL", "140", "141"),
            quote("ES", None, None, "4100"),
            quote("CROSSED", "2", "1"),
        ]
    )
    return api


async def test_positions_are_valued_at_the_latest_quotes(holding: Serving) -> None:
    answer = await holding.control.ListPositions(pb.ListPositionsRequest())

    told_ = [
        (
            each.strategy_id,
            each.symbol,
            each.quantity,
            each.avg_px,
            each.mark_price,
            each.market_value,
            each.unrealized_pnl,
        )
        for each in answer.positions
    ]
    assert told_ == [
        ("a", "AAPL", "-10", "150", "140.5", "-1405", "95"),
        ("a", "ES", "2", "4000", "4100", "82000", "2000"),
        ("b", "AAPL", "0", "0", "140.5", "0", "0"),
        ("b", "CROSSED", "1", "5", "", "", ""),
        ("b", "UNQUOTED", "3", "3.333333333333", "", "", ""),
    ]
    assert (answer.positions[0].realized_pnl, answer.positions[0].fees) == ("2.5", "1")
    assert {each.account_id for each in answer.positions} == {"main"}


async def test_positions_are_listed_although_the_quotes_are_away(holding: Serving) -> None:
    holding.engine.failure = StoreUnavailable("no answer", store="redis")

    answer = await holding.control.ListPositions(pb.ListPositionsRequest())

    assert [each.quantity for each in answer.positions] == ["-10", "2", "0", "1", "3"]
    assert {each.mark_price for each in answer.positions} == {""}


async def test_positions_page_and_are_filtered(holding: Serving) -> None:
    request = pb.ListPositionsRequest(page_size=2)
    seen = []
    while True:
        page = await holding.control.ListPositions(request)
        seen.append([(each.strategy_id, each.symbol) for each in page.positions])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    of_one = await holding.control.ListPositions(
        pb.ListPositionsRequest(strategy_id="b", symbol="AAPL")
    )

    assert seen == [
        [("a", "AAPL"), ("a", "ES")],
        [("b", "AAPL"), ("b", "CROSSED")],
        [("b", "UNQUOTED")],
    ]
    assert [(each.strategy_id, each.symbol) for each in of_one.positions] == [("b", "AAPL")]


# ---- the portfolio ------------------------------------------------------------------------------


async def test_a_portfolio_is_told_whole(api: Serving) -> None:
    request = portfolio_service_pb2.GetPortfolioRequest(account_id="main")
    told_of = (await api.portfolio.GetPortfolio(request)).portfolio
    assert (told_of.currency, told_of.cash, told_of.equity) == ("USD", "10.5", "1000")
    assert [(each.symbol, each.quantity, each.avg_px) for each in told_of.positions] == [
        ("ES", "-2", "5000.25")
    ]
    assert told_of.as_of_time.ToNanoseconds() == START_NS


@pytest.mark.parametrize(
    ("account_id", "reason"), [("", "INVALID_ARGUMENT_FIELDS"), ("mian", "ACCOUNT_NOT_FOUND")]
)
async def test_a_portfolio_is_of_a_known_account(
    api: Serving, account_id: str, reason: str
) -> None:
    request = portfolio_service_pb2.GetPortfolioRequest(account_id=account_id)
    with pytest.raises(grpc.RpcError) as caught:
        await api.portfolio.GetPortfolio(request)
    assert told(caught.value).reason == reason


# ---- differences with a broker ------------------------------------------------------------------

DIFFERENCE = Difference(
    DifferenceKind.POSITION, "AAPL", "100", "107", "7", "107 are held there", START_NS
)


async def test_a_difference_is_listed_and_accepted(api: Serving) -> None:
    api.engine.differences[DIFFERENCE.difference_id] = DIFFERENCE
    told = (await api.control.GetStatus(pb.GetStatusRequest())).accounts[0].differences
    assert [(each.difference_id, each.ours, each.theirs) for each in told] == [
        ("POSITION:AAPL", "100", "107")
    ]
    assert not told[0].HasField("accept_time")
    answer = await api.control.AcceptDifference(
        pb.AcceptDifferenceRequest(
            difference_id="POSITION:AAPL", reason="bought by hand", request_id="r-1"
        )
    )
    assert api.engine.acceptances == [
        AcceptDifferenceCommand("main", "POSITION:AAPL", "bought by hand", "anonymous", "r-1")
    ]
    assert (answer.difference.operator, answer.difference.reason) == ("anonymous", "bought by hand")
    assert answer.difference.accept_time.ToNanoseconds() == START_NS + 1


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.AcceptDifferenceRequest(difference_id="POSITION:AAPL"), "reason"),
        (pb.AcceptDifferenceRequest(reason="r"), "difference_id"),
        (pb.AcceptDifferenceRequest(difference_id="x" * 201, reason="r"), "difference_id"),
        (pb.AcceptDifferenceRequest(difference_id="POSITION:AAPL\n", reason="r"), "difference_id"),
    ],
    ids=["no reason", "no name", "too long", "not printable"],
)
async def test_an_acceptance_says_what_and_why(
    api: Serving, request_: pb.AcceptDifferenceRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.control.AcceptDifference(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (caught.value.details() or "")


async def test_a_difference_that_is_none_cannot_be_accepted(api: Serving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.control.AcceptDifference(
            pb.AcceptDifferenceRequest(difference_id="POSITION:IBM", reason="r")
        )
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


# ---- requests that come again -------------------------------------------------------------------


async def test_a_scope_is_cleared_as_the_contract_says(api: Serving) -> None:
    canceled = await api.control.CancelAllOrders(
        pb.CancelAllOrdersRequest(scope=EVERYTHING, reason="r", request_id="c-1")
    )
    closed = await api.control.FlattenPositions(
        pb.FlattenPositionsRequest(scope=EVERYTHING, reason="r", request_id="f-1")
    )

    assert [each.request_id for each in api.engine.clears] == ["c-1", "f-1"]
    assert canceled == pb.CancelAllOrdersResponse(
        canceled_order_ids=["o-1", "o-2"], in_doubt_order_ids=["o-2"]
    )
    assert (len(closed.order_ids), closed.canceled_order_ids) == (1, ["o-1"])
    [refusal] = closed.refusals
    assert (refusal.signal_id, refusal.message) == ("flatten-2", "no quote")


async def test_nothing_halted_is_flattened_and_a_flattening_needs_an_id(api: Serving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.control.FlattenPositions(
            pb.FlattenPositionsRequest(scope=pb.Scope(symbol="IBM"), reason="r", request_id="f")
        )
    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCOPE_HALTED")
    assert error.metadata == {"scope": "SYMBOL:IBM"}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.control.FlattenPositions(pb.FlattenPositionsRequest(scope=EVERYTHING, reason="r"))
    assert "request_id" in (caught.value.details() or "")


REPEATED: list[tuple[str, Any, Any]] = [
    (
        "Resume",
        pb.ResumeRequest(scope=EVERYTHING, reason="r", request_id="x"),
        pb.ResumeRequest(scope=EVERYTHING, reason="other", request_id="x"),
    ),
    (
        "CancelAllOrders",
        pb.CancelAllOrdersRequest(scope=EVERYTHING, reason="r", request_id="x"),
        pb.CancelAllOrdersRequest(scope=pb.Scope(symbol="IBM"), reason="r", request_id="x"),
    ),
    (
        "FlattenPositions",
        pb.FlattenPositionsRequest(scope=EVERYTHING, reason="r", request_id="x"),
        pb.FlattenPositionsRequest(scope=pb.Scope(account_id="main"), reason="r", request_id="x"),
    ),
    (
        "Halt",
        pb.HaltRequest(scope=EVERYTHING, reason="r", request_id="x"),
        pb.ResumeRequest(scope=EVERYTHING, reason="r", request_id="x"),
    ),
]


@pytest.mark.parametrize(("rpc", "first", "other"), REPEATED, ids=[each[0] for each in REPEATED])
async def test_a_request_id_stands_for_one_request(
    api: Serving, rpc: str, first: Any, other: Any
) -> None:
    api.engine.halted_drained = True
    answered = await getattr(api.control, rpc)(first)
    assert await getattr(api.control, rpc)(first) == answered
    engine = api.engine

    def did() -> int:
        return len(engine.halts) + len(engine.resumes) + len(engine.clears)

    assert did() == 1, "the second time did nothing"
    differing = "Resume" if isinstance(other, pb.ResumeRequest) else rpc
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(api.control, differing)(other)
    error = told(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_CONFLICT")
    assert error.metadata == {"request_id": "x"}
    assert did() == 1


async def test_a_cancel_is_answered_as_the_first_time(api: Serving) -> None:
    submitted = await api.signals.SubmitSignal(
        json_format.Parse(SIGNAL, signal_service_pb2.SubmitSignalRequest())
    )
    order_id = submitted.decision.order.order_id
    request = signal_service_pb2.CancelOrderRequest(order_id=order_id, request_id="x")
    first = await api.signals.CancelOrder(request)
    assert await api.signals.CancelOrder(request) == first
    assert len(api.engine.cancels) == 1
    request.reason = "another"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.signals.CancelOrder(request)
    assert told(caught.value).reason == "REQUEST_ID_CONFLICT"


async def test_a_halt_that_is_not_drained_is_worked_out_anew(api: Serving) -> None:
    request = pb.HaltRequest(scope=EVERYTHING, reason="r", request_id="x")
    for _ in range(2):
        assert (await api.control.Halt(request)).result == pb.HALT_RESULT_IN_DOUBT
    assert len(api.engine.halts) == 2


@pytest.mark.parametrize("how", ["down", "hanging"])
async def test_a_halt_does_not_wait_for_the_record_of_requests(
    api: Serving, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.engine.ledger.down = True

    async def hang(*_: object) -> Any:
        await asyncio.Future()

    if how == "hanging":
        monkeypatch.setattr(api.engine.ledger, "begin", hang)
    request = pb.HaltRequest(scope=EVERYTHING, reason="r", request_id="x")
    await api.control.Halt(request, timeout=5)
    assert len(api.engine.halts) == 1
    if how == "down":
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.control.Resume(pb.ResumeRequest(scope=EVERYTHING, reason="r", request_id="y"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert api.engine.resumes == []
