"""ControlService: stop, look, let go again."""
# ruff: noqa: N802, ARG002  # names and arguments are the contract's

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from trade_engine.api import answers, control_answers, control_requests
from trade_engine.api.accounts import known
from trade_engine.api.auth import Caller
from trade_engine.api.engine import EnginePort
from trade_engine.api.in_flight import InFlight
from trade_engine.api.interceptors import Context
from trade_engine.api.once import once
from trade_engine.api.pages import Page
from trade_engine.api.reading import Reader, optional_id, optional_symbol
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.market import Quote
from trade_engine.domain.signal import checked_id
from trade_engine.domain.trading_state import Scope, ScopeKind
from trade_engine.v1 import control_service_pb2 as pb
from trade_engine.v1 import control_service_pb2_grpc

M = TypeVar("M", bound=Message)


class ControlService(control_service_pb2_grpc.ControlServiceServicer):
    """The service that operators use."""

    def __init__(self, engine: EnginePort, in_flight: InFlight, caller: Caller) -> None:
        self._engine = engine
        self._in_flight = in_flight
        self._caller = caller

    async def Halt(self, request: pb.HaltRequest, context: Context) -> pb.HaltResponse:
        """Stop trading in a scope."""
        command = control_requests.halt_of(request, self._caller.name)
        self._known(command.scope)

        async def halt() -> pb.HaltResponse:
            return control_answers.halt_message(await self._engine.halt(command))

        return await self._in_flight.finish(
            once(
                self._engine.ledger,
                self._caller.name,
                request,
                pb.HaltResponse,
                halt,
                is_final=lambda answer: answer.result == pb.HALT_RESULT_DRAINED,
                stops=True,
            )
        )

    async def Resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:
        """Let a scope trade again."""
        command = control_requests.resume_of(request, self._caller.name)
        self._known(command.scope)

        async def resume() -> pb.ResumeResponse:
            return control_answers.resume_message(await self._engine.resume(command))

        return await self._once(request, pb.ResumeResponse, resume)

    async def AcceptDifference(
        self, request: pb.AcceptDifferenceRequest, context: Context
    ) -> pb.AcceptDifferenceResponse:
        """Take a difference with the broker as it is."""
        caller = self._caller
        command = control_requests.accept_difference_of(
            request, caller.default_account, caller.name
        )
        known(self._engine, command.account_id)

        async def accept() -> pb.AcceptDifferenceResponse:
            accepted = await self._engine.accept_difference(command)
            return pb.AcceptDifferenceResponse(
                difference=control_answers.difference_message(accepted)
            )

        return await self._once(request, pb.AcceptDifferenceResponse, accept)

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """Tell how the engine stands."""
        fields = Reader()
        account_id = fields.read(optional_id, request.account_id, "account_id")
        fields.done()
        if account_id:
            known(self._engine, account_id)
        return control_answers.status_message(await self._engine.status(account_id))

    async def ListPositions(
        self, request: pb.ListPositionsRequest, context: Context
    ) -> pb.ListPositionsResponse:
        """List positions by strategy and symbol, valued at the latest quotes."""
        fields = Reader()
        account_id = fields.read(
            checked_id, request.account_id or self._caller.default_account, "account_id"
        )
        strategy_id = fields.read(optional_id, request.strategy_id, "strategy_id")
        symbol = fields.read(optional_symbol, request.symbol, "symbol")
        page = Page(fields, request, ("positions", account_id, strategy_id, symbol), (str, str))
        fields.done()
        known(self._engine, account_id)
        found = await self._engine.queries.list_positions(
            account_id, strategy_id, symbol, page.position, page.fetch
        )
        shown, token = page.cut(found, lambda position: (position.strategy_id, position.symbol))
        terms = [self._engine.symbol_terms(account_id, each.symbol) for each in shown]
        wanted = {each.symbol for each in shown} | {each.pair.symbol for each in terms if each.pair}
        quotes = await self._quotes(sorted(wanted))
        return pb.ListPositionsResponse(
            positions=[
                answers.position_message(account_id, position, of_symbol, quotes)
                for position, of_symbol in zip(shown, terms, strict=True)
            ],
            next_page_token=token,
        )

    async def CancelAllOrders(
        self, request: pb.CancelAllOrdersRequest, context: Context
    ) -> pb.CancelAllOrdersResponse:
        """Cancel every open order of a scope; its trading state stays as it is."""
        command = control_requests.cancel_all_of(request, self._caller.name)
        self._known(command.scope)

        async def cancel_all() -> pb.CancelAllOrdersResponse:
            return control_answers.cancel_all_message(await self._engine.cancel_all(command))

        return await self._once(request, pb.CancelAllOrdersResponse, cancel_all)

    async def FlattenPositions(
        self, request: pb.FlattenPositionsRequest, context: Context
    ) -> pb.FlattenPositionsResponse:
        """Close every position of a scope, by orders that pass the checks of reducing ones."""
        command = control_requests.flatten_of(request, self._caller.name)
        self._known(command.scope)

        async def flatten() -> pb.FlattenPositionsResponse:
            return control_answers.flatten_message(await self._engine.flatten(command))

        return await self._once(request, pb.FlattenPositionsResponse, flatten)

    async def GetLimits(
        self, request: pb.GetLimitsRequest, context: Context
    ) -> pb.GetLimitsResponse:
        """Answer with the limits in force."""
        fields = Reader()
        account_id = fields.read(optional_id, request.account_id, "account_id")
        fields.done()
        if account_id:
            known(self._engine, account_id)
        return control_answers.limits_message(await self._engine.limits(account_id))

    async def UpdateLimits(
        self, request: pb.UpdateLimitsRequest, context: Context
    ) -> pb.UpdateLimitsResponse:
        """Replace the limits, or tell what that would do."""
        command = control_requests.update_limits_of(request, self._caller.name)
        updated = await self._in_flight.finish(self._engine.update_limits(command))
        return control_answers.limits_updated_message(updated, validate_only=command.validate_only)

    async def _once(
        self, request: Message, answer_type: type[M], act: Callable[[], Awaitable[M]]
    ) -> M:
        """Act on a request, or answer it as the first time; who hangs up stops nothing."""
        return await self._in_flight.finish(
            once(self._engine.ledger, self._caller.name, request, answer_type, act)
        )

    def _known(self, scope: Scope) -> None:
        if scope.kind is ScopeKind.ACCOUNT:
            known(self._engine, scope.scope_id)

    async def _quotes(self, symbols: list[str]) -> dict[str, Quote]:
        """The quotes of some symbols; none while the quote store is down: values stay empty."""
        try:
            return await self._engine.quotes(symbols) if symbols else {}
        except StoreUnavailable:
            return {}
