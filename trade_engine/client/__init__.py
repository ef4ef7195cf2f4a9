"""The client library for strategies, dashboards and operators' tools.

    with TradeEngineClient() as engine:
        done = engine.submit(strategy_id="momentum-v1", symbol="AAPL", side="BUY", confidence=0.8,
                             target_exposure=15000, time_horizon="INTRADAY")
        print(done.decision.message)

`AsyncTradeEngineClient` is the same for asyncio.
"""

from trade_engine.client.asynchronous import AsyncTradeEngineClient
from trade_engine.client.errors import TradeEngineError
from trade_engine.client.messages import QuoteLike, ScopeLike, SignalLike, to_json
from trade_engine.client.results import Failed, Result, Submitted
from trade_engine.client.retrying import RetryPolicy
from trade_engine.client.synchronous import TradeEngineClient
from trade_engine.client.watching import Event
from trade_engine.v1.control_service_pb2 import (
    AccountStatus,
    Difference,
    GetLimitsResponse,
    GetStatusResponse,
    HaltResponse,
    HaltResult,
    LimitBreach,
    LimitDifference,
    LimitRaise,
    ResumeResponse,
    Scope,
    ScopeState,
    TradingState,
    UpdateLimitsResponse,
)
from trade_engine.v1.decision_pb2 import CheckResult, Decision, Outcome, Sizing
from trade_engine.v1.market_data_service_pb2 import (
    GetQuotesResponse,
    PublishQuotesResponse,
    Quote,
    QuoteRejection,
)
from trade_engine.v1.order_pb2 import (
    DeliveryState,
    ExecType,
    ExecutionReport,
    Order,
    OrderSide,
    OrderUpdate,
    OrdStatus,
    UpdateKind,
)
from trade_engine.v1.portfolio_pb2 import Position
from trade_engine.v1.signal_pb2 import Signal, SignalConstraints
from trade_engine.v1.signal_service_pb2 import OrderSnapshot, SnapshotEnd

__all__ = [
    "AccountStatus",
    "AsyncTradeEngineClient",
    "CheckResult",
    "Decision",
    "DeliveryState",
    "Difference",
    "Event",
    "ExecType",
    "ExecutionReport",
    "Failed",
    "GetLimitsResponse",
    "GetQuotesResponse",
    "GetStatusResponse",
    "HaltResponse",
    "HaltResult",
    "LimitBreach",
    "LimitDifference",
    "LimitRaise",
    "OrdStatus",
    "Order",
    "OrderSide",
    "OrderSnapshot",
    "OrderUpdate",
    "Outcome",
    "Position",
    "PublishQuotesResponse",
    "Quote",
    "QuoteLike",
    "QuoteRejection",
    "Result",
    "ResumeResponse",
    "RetryPolicy",
    "Scope",
    "ScopeLike",
    "ScopeState",
    "Signal",
    "SignalConstraints",
    "SignalLike",
    "Sizing",
    "SnapshotEnd",
    "Submitted",
    "TradeEngineClient",
    "TradeEngineError",
    "TradingState",
    "UpdateKind",
    "UpdateLimitsResponse",
    "to_json",
]
