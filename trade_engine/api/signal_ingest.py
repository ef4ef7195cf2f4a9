"""SignalService: signals in; decisions, orders and their changes out.

Every handler has one shape: read the request, ask the engine or the record, write the answer. What
moves capital runs in the engine's own tasks; a handler only waits for it.
"""
# ruff: noqa: N802, ARG002  # names and arguments are the contract's

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import cast

from trade_engine.api import answers, convert
from trade_engine.api.accounts import known
from trade_engine.api.auth import Caller
from trade_engine.api.engine import EnginePort, Finder
from trade_engine.api.in_flight import InFlight
from trade_engine.api.interceptors import Context
from trade_engine.api.once import once
from trade_engine.api.order_updates import OrderUpdateHub
from trade_engine.api.pages import Page
from trade_engine.api.reading import (
    Reader,
    after_sequence,
    optional_id,
    optional_reason,
    optional_symbol,
)
from trade_engine.api.signal_stream import SignalStream
from trade_engine.api.update_batch import UpdateFilter
from trade_engine.domain.errors import EngineError, NotFound
from trade_engine.domain.signal import checked_id
from trade_engine.execution.ports import DecisionFilter, OrderFilter
from trade_engine.v1 import signal_service_pb2 as pb
from trade_engine.v1 import signal_service_pb2_grpc


class SignalService(signal_service_pb2_grpc.SignalServiceServicer):
    """The service that strategies use."""

    def __init__(
        self,
        engine: EnginePort,
        finder: Finder,
        hub: OrderUpdateHub,
        in_flight: InFlight,
        caller: Caller,
        incident: Callable[[str, BaseException], EngineError],
    ) -> None:
        self._engine = engine
        self._finder = finder
        self._hub = hub
        self._in_flight = in_flight
        self._caller = caller
        self._incident = incident

    async def SubmitSignal(
        self, request: pb.SubmitSignalRequest, context: Context
    ) -> pb.SubmitSignalResponse:
        """Decide one signal."""
        signal = convert.required_signal(request, self._caller.default_account)
        known(self._engine, signal.account_id)
        # Not in a task of its own: canceling this wait is canceling nothing else. The signal is
        # in the gate's queue, and the gate settles it.
        return answers.submit_response(await self._engine.submit(signal))

    async def SubmitSignals(
        self, request_iterator: AsyncIterator[pb.SubmitSignalsRequest], context: Context
    ) -> AsyncIterator[pb.SubmitSignalsResponse]:
        """Decide many signals on one stream."""
        stream = SignalStream(
            self._engine, self._in_flight, self._caller, partial(self._incident, "SubmitSignals")
        )
        async with aclosing(stream.results(request_iterator)) as batches:
            async for results in batches:
                yield pb.SubmitSignalsResponse(results=results)

    async def EvaluateSignal(
        self, request: pb.EvaluateSignalRequest, context: Context
    ) -> pb.EvaluateSignalResponse:
        """Say what would be decided."""
        signal = convert.required_signal(request, self._caller.default_account)
        known(self._engine, signal.account_id)
        decision = await self._engine.evaluate(signal)
        return pb.EvaluateSignalResponse(decision=answers.decision_message(decision))

    async def GetDecision(
        self, request: pb.GetDecisionRequest, context: Context
    ) -> pb.GetDecisionResponse:
        """Find the decision of a signal."""
        fields = Reader()
        account_id = self._account(fields, request.account_id)
        signal_id = fields.read(checked_id, request.signal_id, "signal_id")
        fields.done()
        known(self._engine, account_id)
        found = await self._finder.find_decisions(account_id, [signal_id])
        if signal_id not in found:
            raise NotFound("decision", account_id=account_id, signal_id=signal_id)
        return pb.GetDecisionResponse(decision=answers.decision_message(found[signal_id]))

    async def ListDecisions(
        self, request: pb.ListDecisionsRequest, context: Context
    ) -> pb.ListDecisionsResponse:
        """List decisions, newest first."""
        fields = Reader()
        account_id = self._account(fields, request.account_id)
        which = DecisionFilter(
            strategy_id=fields.read(optional_id, request.strategy_id, "strategy_id"),
            symbol=fields.read(optional_symbol, request.symbol, "symbol"),
            outcome=fields.read(convert.outcome_filter, request.outcome, "outcome"),
        )
        page = Page(fields, request, ("decisions", account_id, which), (int,))
        fields.done()
        known(self._engine, account_id)
        before = page.position[0] if page.position else None
        found = await self._engine.queries.list_decisions(account_id, which, before, page.fetch)
        shown, token = page.cut(found, lambda decision: (decision.sequence,))
        return pb.ListDecisionsResponse(
            decisions=[answers.decision_message(decision) for decision in shown],
            next_page_token=token,
        )

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        """Find an order as it stands now."""
        fields = Reader()
        account_id = self._account(fields, request.account_id)
        order_id = fields.read(checked_id, request.order_id, "order_id")
        fields.done()
        known(self._engine, account_id)
        found = await self._finder.find_orders(account_id, [order_id])
        if order_id not in found:
            raise NotFound("order", account_id=account_id, order_id=order_id)
        return pb.GetOrderResponse(order=answers.order_message(found[order_id]))

    async def ListOrders(
        self, request: pb.ListOrdersRequest, context: Context
    ) -> pb.ListOrdersResponse:
        """List orders, newest first."""
        fields = Reader()
        account_id = self._account(fields, request.account_id)
        which = OrderFilter(
            strategy_id=fields.read(optional_id, request.strategy_id, "strategy_id"),
            symbol=fields.read(optional_symbol, request.symbol, "symbol"),
            open_only=request.open_only,
        )
        page = Page(fields, request, ("orders", account_id, which), (int, str))
        fields.done()
        known(self._engine, account_id)
        found = await self._engine.queries.list_orders(account_id, which, page.position, page.fetch)
        shown, token = page.cut(found, lambda order: (order.created_at_ns, order.order_id))
        return pb.ListOrdersResponse(
            orders=[answers.order_message(order) for order in shown], next_page_token=token
        )

    async def CancelOrder(
        self, request: pb.CancelOrderRequest, context: Context
    ) -> pb.CancelOrderResponse:
        """Make the wish to cancel an order durable."""
        fields = Reader()
        account_id = self._account(fields, request.account_id)
        order_id = fields.read(checked_id, request.order_id, "order_id")
        request_id = fields.read(optional_id, request.request_id, "request_id")
        reason = fields.read(optional_reason, request.reason, "reason")
        fields.done()
        known(self._engine, account_id)

        async def cancel() -> pb.CancelOrderResponse:
            order = await self._engine.cancel_order(
                account_id, order_id, request_id, reason, self._caller.name
            )
            return pb.CancelOrderResponse(order=answers.order_message(order))

        return await self._in_flight.finish(
            once(self._engine.ledger, self._caller.name, request, pb.CancelOrderResponse, cancel)
        )

    async def StreamOrderUpdates(
        self, request: pb.StreamOrderUpdatesRequest, context: Context
    ) -> AsyncIterator[pb.StreamOrderUpdatesResponse]:
        """Stream the changes of an account's orders, without an end."""
        fields = Reader()
        account_id = self._account(fields, request.account_id)
        which = UpdateFilter(
            fields.read(optional_id, request.strategy_id, "strategy_id"),
            fields.read(optional_symbol, request.symbol, "symbol"),
        )
        after: int | None = None
        if request.HasField("after_sequence"):
            after = fields.read(after_sequence, request.after_sequence, "after_sequence")
        fields.done()
        known(self._engine, account_id)
        async with aclosing(self._hub.follow(account_id, which, after)) as responses:
            async for response in responses:
                # Mostly bytes: serialized once for all subscribers, and sent as they are.
                yield cast("pb.StreamOrderUpdatesResponse", response)

    def _account(self, fields: Reader, given: str) -> str:
        return fields.read(checked_id, given or self._caller.default_account, "account_id")
