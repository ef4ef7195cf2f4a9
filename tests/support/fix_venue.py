"""A FIX venue for tests: the paper matcher behind a FIX session, and every oddity on demand.

It speaks with one client, keeps its messages and resends them, and can be told to report what no
good venue does. Its session layer is the library's own, in the acceptor's role.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from fixcore.application import Application
from fixcore.log.base import Log
from fixcore.message.message import Message
from fixcore.session.session import Session
from fixcore.session.session_id import SessionID
from fixcore.session.session_settings import SessionSettings
from fixcore.store.memory import MemoryStore
from fixcore.transport.framer import MessageFramer

from tests.support.memory_books import MemoryBooks
from tests.support.paper import INSTRUMENTS, NOON_NS, ManualClock, quote
from trade_engine.brokers.fix_messages import timestamp
from trade_engine.brokers.paper import PaperBroker
from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.domain.execution import BrokerReport, CancelReject, ExecType
from trade_engine.domain.money import text
from trade_engine.domain.order import ApprovedOrder, Order, OrdType, TimeInForce, order_id_of
from trade_engine.domain.replacement import ApprovedReplacement, Replacement, Terms, is_replacement
from trade_engine.domain.signal import Side

ACCOUNTS = ("main", "other")
CODES = {
    ExecType.NEW: ("0", "0"),
    ExecType.CANCELED: ("4", "4"),
    ExecType.REPLACED: ("5", "0"),
    ExecType.REJECTED: ("8", "8"),
    ExecType.EXPIRED: ("C", "C"),
    ExecType.TRADE: ("F", "1"),
    ExecType.TRADE_CORRECT: ("G", "1"),
    ExecType.TRADE_CANCEL: ("H", "1"),
}
"""ExecType(150) and OrdStatus(39)."""
IN_FIX_42 = {
    ExecType.TRADE: ("1", "0"),
    ExecType.TRADE_CORRECT: ("1", "2"),
    ExecType.TRADE_CANCEL: ("0", "1"),
}
"""ExecType(150) and ExecTransType(20), where FIX 4.2 differs."""
TIMES_IN_FORCE = {
    "0": TimeInForce.DAY,
    "1": TimeInForce.GTC,
    "3": TimeInForce.IOC,
    "4": TimeInForce.FOK,
}


class Quiet(Log):
    def on_incoming(self, message: str) -> None: ...
    def on_outgoing(self, message: str) -> None: ...
    def on_event(self, text: str) -> None: ...


class FixVenue(Application):
    """received holds every application message that came in, resent ones too."""

    def __init__(self, version: str = "FIX.4.4", *, answers_status: bool = True) -> None:
        self.version = version
        self.port = 0
        self.received: list[Message] = []
        self.answers_status = answers_status
        self.paper = PaperBroker(
            PaperConfig(),
            books=MemoryBooks(),
            find_instrument=INSTRUMENTS.get,
            clock=ManualClock(),
            holder="venue",
        )
        settings = SessionSettings()
        session_id = SessionID(version, "VENUE", "ENGINE")
        settings.set_session(session_id, {"ConnectionType": "acceptor"})
        self.store = MemoryStore()
        self.session = Acceptor(self, session_id, settings)
        self.refuses: set[str] = set()
        """Message types that it answers with a BusinessMessageReject."""
        self.says_before_logout: list[dict[str, str]] = []
        """ExecutionReports that cross the client's Logout."""
        self._orders: dict[str, Order] = {}
        self._cancels: dict[str, str] = {}
        self._names: dict[str, str] = {}
        """What an order was replaced as last: it is known by no other name."""
        self.states_terms = True
        """Whether a REPLACED says OrderQty and Price."""
        self._outbox: list[Message] = []
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._writer: asyncio.StreamWriter | None = None
        self._shown = 0

    async def start(self) -> None:
        await self.paper.start(self._report)
        for account_id in ACCOUNTS:
            await self.paper.open_account(account_id)
        self._working = asyncio.create_task(self._work())
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        self.hang_up()
        await self._server.wait_closed()
        self._working.cancel()
        await asyncio.wait({self._working})
        await self.paper.stop()

    def hang_up(self) -> None:
        """Drop the connection without a word."""
        if self._writer is not None:
            self._writer.transport.abort()

    def show(self, bid: str, ask: str, bid_size: str | None, ask_size: str | None) -> None:
        """Put a market of AAPL before the matcher."""
        self._shown += 1
        self.paper.on_quotes([quote(bid, ask, bid_size, ask_size, time_ns=NOON_NS + self._shown)])

    async def say(self, **fields: str) -> None:
        """Send an ExecutionReport of these fields, by name or as `t` and the tag."""
        message = Message()
        message.header.set(35, "8")
        for name, value in fields.items():
            message.set_field(int(name[1:]), value)
        await self._send(message)

    async def write(self, raw: bytes) -> None:
        """Put bytes on the wire as they are."""
        assert self._writer is not None
        self._writer.write(raw)
        await self._writer.drain()

    # ---- the session ------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(raw: bytes) -> None:
            writer.write(raw)
            await writer.drain()

        async def close() -> None:
            writer.close()

        framer = MessageFramer()
        self._writer = writer
        await self.session.on_connect(send, close)
        try:
            while data := await reader.read(65_536):
                for raw in framer.feed(data):
                    await self.session.on_data(raw)
        except OSError:
            pass
        finally:
            await self.session.on_disconnect()
            writer.transport.abort()

    def on_logon(self, session_id: SessionID) -> None:
        outbox, self._outbox = self._outbox, []
        for message in outbox:
            self._inbox.put_nowait(message)

    def from_app(self, message: Message, session_id: SessionID) -> None:
        self.received.append(message)
        self._inbox.put_nowait(message)

    async def _send(self, message: Message) -> None:
        if self.session.is_logged_on:
            await self.session.send_app(message)
        else:
            self._outbox.append(message)

    # ---- what the client asks ---------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            message = await self._inbox.get()
            match message.msg_type:
                case refused if refused in self.refuses:
                    await self._refuse(message)
                case "D":
                    order = self._order(message)
                    self._orders[order.cl_ord_id] = order
                    await self.paper.send([order])
                case "F":
                    await self._cancel(message)
                case "G":
                    await self._replace(message)
                case "H" if self.answers_status:
                    await self._tell_status(message.get(11))
                case "8" | "9":
                    await self._send(message)
                case _:
                    await self._refuse(message)

    @staticmethod
    def _order(message: Message) -> ApprovedOrder:
        price = message.get(44)
        return ApprovedOrder(
            Order(
                order_id=message.get(11),
                account_id=message.get(1, "main"),
                strategy_id="s",
                symbol=message.get(55),
                signal_id="s",
                side=Side.BUY if message.get(54) == "1" else Side.SELL,
                ord_type=OrdType.LIMIT if price else OrdType.MARKET,
                time_in_force=TIMES_IN_FORCE[message.get(59)],
                order_qty=Decimal(message.get(38)),
                price=Decimal(price) if price else None,
                broker="paper",
                created_at_ns=NOON_NS,
            )
        )

    def _named(self, cl_ord_id: str) -> Order | None:
        """The order that goes by this ClOrdID now."""
        first = order_id_of(cl_ord_id)
        return self._orders.get(first) if self._names.get(first, first) == cl_ord_id else None

    async def _cancel(self, message: Message) -> None:
        order = self._named(message.get(41))
        first = order.cl_ord_id if order else ""
        known = await self.paper.query(order.account_id, [first]) if order else {}
        if order is None or not known[first].is_open:
            await self._reject_request(message.get(11), message.get(41), "0" if order else "1")
            return
        self._cancels[first] = message.get(11)
        await self.paper.cancel([order])

    async def _replace(self, message: Message) -> None:
        order = self._named(message.get(41))
        if order is None:
            await self._reject_request(message.get(11), message.get(41), "1")
            return
        terms = Terms(
            order.order_id, message.get(11), Decimal(message.get(38)), Decimal(message.get(44))
        )
        asked = Replacement(order, terms, message.get(41))
        await self.paper.replace([ApprovedReplacement(asked)])

    async def _reject_request(self, cl_ord_id: str, original: str, reason: str) -> None:
        """Reason is CxlRejReason: 0 too late, 1 an unknown order."""
        reject = Message()
        reject.header.set(35, "9")
        response_to = "2" if is_replacement(cl_ord_id) else "1"
        fields = {37: "NONE", 11: cl_ord_id, 41: original, 39: "8", 434: response_to, 102: reason}
        for tag, value in fields.items():
            reject.set_field(tag, value)
        await self._send(reject)

    async def _tell_status(self, cl_ord_id: str) -> None:
        order = self._named(cl_ord_id)
        fields = {"t37": "NONE", "t17": "0", "t11": cl_ord_id}
        fields |= {"t20": "3"} if self.version == "FIX.4.2" else {"t150": "I"}
        if order is None:
            await self.say(**fields, t39="8", t103="5", t14="0", t151="0")
            return
        known = (await self.paper.query(order.account_id, [order.cl_ord_id]))[order.cl_ord_id]
        status = "1" if known.is_open else "2"
        quantities = {"t14": text(known.cum_qty), "t151": text(known.leaves_qty)}
        fields["t37"] = known.broker_order_id
        await self.say(**fields, **quantities, t39=status, t55=order.symbol)

    async def _refuse(self, message: Message) -> None:
        reject = Message()
        reject.header.set(35, "j")
        reject.set_field(45, message.get(34))
        reject.set_field(372, message.msg_type)
        reject.set_field(380, "3")
        await self._send(reject)

    async def _report(self, _: str, reports: Sequence[BrokerReport]) -> None:
        for report in reports:
            if isinstance(report, CancelReject):
                await self._reject_request(report.cl_ord_id, report.orig_cl_ord_id, "0")
                continue
            exec_type, status = CODES[report.exec_type]
            first = order_id_of(report.cl_ord_id)
            order = self._orders[first]
            before = self._names.get(first, first)
            if report.exec_type is ExecType.REPLACED:
                self._names[first] = report.cl_ord_id
            fields = {
                "t11": self._names.get(first, first),
                "t17": report.exec_id,
                "t37": report.broker_order_id,
                "t55": order.symbol,
                "t54": "1" if order.side is Side.BUY else "2",
                "t60": timestamp(report.transact_time_ns),
                "t58": report.text,
            }
            if report.exec_ref_id:
                fields["t19"] = report.exec_ref_id
            if report.exec_type in (ExecType.TRADE, ExecType.TRADE_CORRECT):
                fields |= {"t32": text(report.last_qty), "t31": text(report.last_px or Decimal(0))}
            if report.exec_type is ExecType.CANCELED and first in self._cancels:
                fields |= {"t11": self._cancels[first], "t41": before}
            if report.exec_type is ExecType.REPLACED:
                fields["t41"] = before
                if self.states_terms:
                    assert report.order_qty is not None
                    assert report.price is not None
                    fields |= {"t38": text(report.order_qty), "t44": text(report.price)}
            if self.version == "FIX.4.2":
                exec_type, fields["t20"] = IN_FIX_42.get(report.exec_type, (exec_type, "0"))
            await self.say(**{**fields, "t150": exec_type, "t39": status})


class Acceptor(Session):
    """The venue's end of the session."""

    def __init__(self, venue: FixVenue, session_id: SessionID, settings: SessionSettings) -> None:
        super().__init__(session_id, settings, venue, venue.store, Quiet())
        self._venue = venue

    async def _on_logout(self, msg: Message) -> None:
        crossing, self._venue.says_before_logout = self._venue.says_before_logout, []
        for fields in crossing:
            await self._venue.say(**fields)
        await super()._on_logout(msg)
