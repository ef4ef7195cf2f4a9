"""One FIX session, kept up: connect, log on, catch up with what was missed, and again.

The library speaks the session protocol; this drives it and adds what it leaves open: TLS, and that
**nobody but the operator resets sequence numbers**. A venue that says it begins at 1 again, or that
numbers are to be skipped, has messages that we would never see: the connection is ended, an alert
is raised, and it stays so until the operator has reconciled and reset (`trade-engine fix reset`).

A session is in step when the venue has answered a TestRequest sent after the Logon. By then it has
asked for what it lacks of ours, and since its answers are read in order, what we lacked of its
messages has been read too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from fixcore.application import Application
from fixcore.log.base import Log
from fixcore.message.message import Message
from fixcore.session.session import Session
from fixcore.session.session_id import SessionID
from fixcore.session.session_settings import SessionSettings
from fixcore.session.state import ADMIN_MSG_TYPES
from fixcore.transport.framer import MessageFramer

from trade_engine.brokers import fix_fields as tag
from trade_engine.brokers.fix_config import FixConfig
from trade_engine.brokers.fix_fields import fields_of, is_intact, shown
from trade_engine.brokers.fix_messages import test_request
from trade_engine.brokers.fix_store import FixStore
from trade_engine.domain.errors import StoreUnavailable

_log = logging.getLogger(__name__)

CONNECT_S = 10.0
WRITE_S = 5.0
"""A venue that reads nothing for so long is gone."""
ANSWER_S = 30.0
LOGOUT_S = 2
RECONNECT_S_MIN = 0.2
RECONNECT_S_MAX = 30.0
READ_BYTES = 65_536

Receive = Callable[[Message], None]
Trouble = Callable[[str, bytes], None]
"""Told what a person must look at, and the message that shows it (or b"")."""


class FixSession:
    """Connects and logs on again until it is stopped; `in_step` while it may be used."""

    def __init__(
        self, config: FixConfig, store: FixStore, receive: Receive, trouble: Trouble
    ) -> None:
        """Receive is called with every application message and every Reject, in order."""
        self.in_step = asyncio.Event()
        self.why_not = "it has not connected yet"
        self._config = config
        self._store = store
        self._trouble = trouble
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._tests = 0
        self.connections = 0
        self._logged_on = False
        self._away_is_told = False
        self._stopping = asyncio.Event()
        self._catching_up: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        callbacks = _Callbacks(self, receive, config)
        self._session = _GuardedSession(config, store, callbacks, self.refuse)
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._running = asyncio.create_task(self._run(), name=f"fix {self._config.name}")

    async def stop(self) -> None:
        """Log out, and wait a moment for the venue to confirm it."""
        self._stopping.set()
        self.in_step.clear()
        running = self._running
        if running is None:
            return
        try:
            async with asyncio.timeout(WRITE_S):
                await self._session.send_logout()
        except Exception as error:  # noqa: BLE001  # it ends in any case
            _log.info("FIX %s: no Logout was sent: %r", self._config.name, error)
        await asyncio.wait({running}, timeout=LOGOUT_S)
        running.cancel()
        await asyncio.wait({running})

    async def send(self, message: Message) -> None:
        """Store a message and write it.

        Raises:
            StoreUnavailable: the session is not in step, and nothing was stored.
            Exception: anything else; whether it arrives is not known.
        """
        if not self.in_step.is_set() or not self._session.is_logged_on:
            raise StoreUnavailable(f"FIX session {self._config.name} is away: {self.why_not}")
        # In a task of its own: a caller that is canceled must not leave a number that is taken on
        # disk and not in memory, or an order that is stored and not written.
        await asyncio.shield(asyncio.ensure_future(self._session.send_app(message)))

    async def round_trip(self) -> None:
        """Wait until the venue has read everything sent so far, and we what it sent before that.

        Raises:
            StoreUnavailable: the connection is away, or the venue does not answer.
        """
        self._tests += 1
        test_req_id = f"{self._config.name}-{self._tests}"
        answer = self._answers[test_req_id] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._session.send_app(test_request(test_req_id))
                await answer
        except (RuntimeError, OSError, TimeoutError) as error:
            raise StoreUnavailable(
                f"FIX session {self._config.name} does not answer: {error!r}"
            ) from error
        finally:
            del self._answers[test_req_id]

    def refuse(self, why: str, raw: bytes) -> None:
        """Note why the session can't go on, and let a person look."""
        self.why_not = why
        self._trouble(why, raw)

    def _tell_away(self, why: str) -> None:
        """Let a person look, once for each time that the venue is away."""
        _log.warning("FIX %s: %s", self._config.name, why)
        if not self._away_is_told:
            self._away_is_told = True
            self.refuse(why, b"")

    # ---- the connection ---------------------------------------------------------------------

    async def _run(self) -> None:
        wait_s = RECONNECT_S_MIN
        while not self._stopping.is_set():
            self._logged_on = False
            try:
                await self._connect_once()
            except (OSError, TimeoutError) as error:
                self._tell_away(f"{self._config.host}:{self._config.port}: {error!r}")
            except Exception:  # noqa: BLE001  # whatever it was, it is tried again
                self.why_not = "a fault of the adapter's own ended the connection; see the log"
                _log.exception("FIX %s: the connection is dropped", self._config.name)
            wait_s = RECONNECT_S_MIN if self._logged_on else min(wait_s * 2, RECONNECT_S_MAX)
            try:
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    async def _connect_once(self) -> None:
        """Connect, and read until the connection ends."""
        config = self._config
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                config.host, config.port, ssl=config.ssl_context()
            )

        async def send(raw: bytes) -> None:
            async with asyncio.timeout(WRITE_S):
                writer.write(raw)
                await writer.drain()

        async def close() -> None:
            writer.close()

        framer = MessageFramer()
        try:
            await self._session.on_connect(send, close)
            while data := await reader.read(READ_BYTES):
                for raw in framer.feed(data):
                    await self._session.on_data(raw)
        finally:
            self._lose()
            writer.transport.abort()
            await self._session.on_disconnect()

    def _lose(self) -> None:
        if not self._stopping.is_set():
            self._tell_away("the connection was lost")
        self.in_step.clear()
        if self._catching_up is not None:
            self._catching_up.cancel()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError(self.why_not))

    async def _catch_up(self) -> None:
        try:
            await self.round_trip()
        except StoreUnavailable as error:
            self.why_not = error.message
            await self._session.disconnect()
        else:
            _log.info("FIX %s: logged on, and in step", self._config.name)
            self._away_is_told = False
            self.connections += 1
            self.in_step.set()

    # ---- what the library says --------------------------------------------------------------

    def on_logon(self) -> None:
        """The venue took the Logon."""
        self._logged_on = True
        if self._store.announces_reset:
            self._store.reset_is_agreed()
            self._session.announce_reset(wanted=False)
        self._catching_up = asyncio.create_task(self._catch_up())

    async def _ask_again(self) -> None:
        """A gap fill passes over what came out of turn, and an answer may have been among it."""
        for test_req_id in tuple(self._answers):
            with suppress(RuntimeError, OSError, TimeoutError):  # it is gone, and asked anew later
                await self._session.send_app(test_request(test_req_id))

    def on_admin(self, message: Message) -> None:
        """A message of the session protocol came in."""
        if message.msg_type == tag.HEARTBEAT:
            answer = self._answers.get(message.get(tag.TEST_REQ_ID))
            if answer is not None and not answer.done():
                answer.set_result(None)
        elif message.msg_type == tag.SEQUENCE_RESET:
            asking = asyncio.create_task(self._ask_again())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        elif message.msg_type == tag.LOGOUT and not self._stopping.is_set():
            self._tell_away(f"the venue logged out: {message.get(tag.TEXT) or 'no reason given'}")


class _Callbacks(Application):
    """Hands on what the library says."""

    def __init__(self, session: FixSession, receive: Receive, config: FixConfig) -> None:
        self._session = session
        self._receive = receive
        self._credentials = {tag.USERNAME: config.username, tag.PASSWORD: config.password}

    def to_admin(self, message: Message, _session_id: SessionID) -> None:
        if message.msg_type == tag.LOGON:
            for number, value in self._credentials.items():
                if value:
                    message.set_field(number, value)

    def on_logon(self, _session_id: SessionID) -> None:
        self._session.on_logon()

    def from_admin(self, message: Message, _session_id: SessionID) -> None:
        if message.msg_type == tag.REJECT:
            self._receive(message)
        else:
            self._session.on_admin(message)

    def from_app(self, message: Message, _session_id: SessionID) -> None:
        self._receive(message)


class _Log(Log):
    """The session's doings, in the engine's log and without secrets."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_incoming(self, message: str) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("FIX %s < %s", self._name, shown(message))

    def on_outgoing(self, message: str) -> None:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("FIX %s > %s", self._name, shown(message))

    def on_event(self, text: str) -> None:
        _log.info("FIX %s: %s", self._name, text)


class _GuardedSession(Session):
    """The library's session, which takes no reset from a venue, and loses no message of it.

    By itself it counts a message as received and then drops it where the session is no longer
    logged on (a fill that crosses our Logout), or where it is a resend without OrigSendingTime.
    And it puts a ResendRequest that comes out of turn aside until its own gap is filled: where
    both sides lost something, each would wait for the other for ever.
    """

    def __init__(
        self, config: FixConfig, store: FixStore, callbacks: Application, refuse: Trouble
    ) -> None:
        session_id = SessionID(config.version, config.sender_comp_id, config.target_comp_id)
        settings = SessionSettings()
        settings.set_session(
            session_id, {"HeartBtInt": str(config.heartbeat_s), "RequiresOrigSendingTime": "N"}
        )
        super().__init__(session_id, settings, callbacks, store, _Log(config.name))
        self._refuse = refuse
        self.announce_reset(wanted=store.announces_reset)

    def announce_reset(self, *, wanted: bool) -> None:
        """Whether the next Logon asks the venue to begin at 1 with us: the operator's wish."""
        self._reset_on_logon = wanted

    async def on_data(self, raw: bytes) -> None:
        """Take one message off the wire."""
        if not is_intact(raw):
            self._refuse("a message's CheckSum(10) is wrong, so it is asked for again", raw)
        elif self._resets(fields_of(raw)):
            self._refuse(
                "the venue resets sequence numbers, which only the operator may: reconcile, then "
                "`trade-engine fix reset`",
                raw,
            )
            await self.disconnect()
            return
        await super().on_data(raw)

    async def _handle_sequenced(self, msg: Message) -> None:
        if msg.msg_type == tag.RESEND_REQUEST and self._is_ahead(msg):
            await self._on_resend_request(msg)  # and again in its turn, which does no harm
            if self._resend_pending:  # such a venue has passed over what we asked before this
                await self._send_resend_request(
                    self._store.next_target_msg_seq_num(), self._resend_upper_bound()
                )
        await super()._handle_sequenced(msg)

    def _is_ahead(self, msg: Message) -> bool:
        number = msg.header.get(tag.MSG_SEQ_NUM)
        return number.isdecimal() and int(number) > self._store.next_target_msg_seq_num()

    async def _dispatch(self, msg: Message) -> None:
        if msg.msg_type in ADMIN_MSG_TYPES or self.is_logged_on:
            await super()._dispatch(msg)
        else:
            self._notify_from_app(msg)

    async def _on_undecodable(self, raw: bytes, exc: ValueError) -> None:
        self._refuse(f"a message's content is malformed: {exc}", raw)
        await super()._on_undecodable(raw, exc)

    def _resets(self, fields: dict[int, str]) -> bool:
        match fields.get(tag.MSG_TYPE):
            case tag.LOGON:
                return fields.get(tag.RESET_SEQ_NUM_FLAG) == "Y" and not self._reset_on_logon
            case tag.SEQUENCE_RESET:
                return fields.get(tag.GAP_FILL_FLAG) != "Y"
            case _:
                return False
