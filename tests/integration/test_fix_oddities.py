"""What a FIX venue may say, and when: it comes out as the engine's word, or is kept aside."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.proxy import Proxy
from tests.support.alerts import Alerts
from tests.support.fix import fix_broker, fix_config
from tests.support.fix_venue import FixVenue
from tests.support.paper import RecordingSink, eventually, order
from trade_engine.brokers.fix import FixBroker
from trade_engine.brokers.fix_look import FixLook, look_into
from trade_engine.brokers.fix_store import FixStore
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import CancelReject, ExecType
from trade_engine.execution.observer import Alert
from trade_engine.execution.ports import Delivery

MAIN = "main"


@dataclass
class Line:
    """A broker with its account open at a venue."""

    broker: FixBroker
    sink: RecordingSink
    venue: FixVenue
    alerts: Alerts
    store: Path

    async def says(self, *expected: str) -> None:
        await eventually(lambda: len(self.sink.seen()) >= len(expected))
        assert self.sink.seen() == list(expected)

    async def settled(self) -> None:
        """Both sides have read everything."""
        await self.broker.query(MAIN, ["o-1"])

    def look(self) -> FixLook:
        return look_into(self.store)


@asynccontextmanager
async def at(venue: FixVenue, store: Path, *, booking: bool = True) -> AsyncIterator[Line]:
    sink, alerts = RecordingSink(), Alerts()
    if not booking:
        sink.opened.clear()
    broker = fix_broker(store, venue.port, venue.version, alerts, password="sesame")
    await broker.start(sink)
    await broker.open_account(MAIN)
    try:
        yield Line(broker, sink, venue, alerts, store)
    finally:
        await broker.stop()


@asynccontextmanager
async def a_venue(
    version: str = "FIX.4.4", *, answers_status: bool = True
) -> AsyncIterator[FixVenue]:
    venue = FixVenue(version, answers_status=answers_status)
    await venue.start()
    try:
        yield venue
    finally:
        await venue.stop()


@pytest.fixture
async def venue() -> AsyncIterator[FixVenue]:
    async with a_venue() as venue:
        yield venue


@pytest.fixture
async def line(venue: FixVenue, tmp_path: Path) -> AsyncIterator[Line]:
    """A line on which order o-1 rests at the venue."""
    async with at(venue, tmp_path / "session.sqlite") as line:
        await line.broker.send([order("o-1")])
        await line.says("o-1 NEW")
        yield line


def fill(exec_id: str, quantity: str = "40", **changes: str) -> dict[str, str]:
    fields = {"t11": "o-1", "t17": exec_id, "t37": "v-1", "t150": "F", "t39": "1", "t55": "AAPL"}
    return {**fields, "t54": "1", "t32": quantity, "t31": "100", **changes}


# ---- what is passed on --------------------------------------------------------------------------


async def test_busts_and_corrections_name_the_execution(line: Line) -> None:
    await line.venue.say(**fill("x1"))
    await line.venue.say(**fill("x2", "30", t150="G", t19="x1", t31="99.5"))
    await line.venue.say(**fill("x3", t150="H", t19="x2"))
    await eventually(lambda: len(line.sink.reports()) == 4)
    _, first, corrected, busted = line.sink.reports()
    assert corrected.exec_type is ExecType.TRADE_CORRECT
    assert (corrected.last_qty, str(corrected.last_px)) == (30, "99.5")
    assert corrected.exec_ref_id == first.exec_id == "o-1/x1"
    assert (busted.exec_type, busted.exec_ref_id) == (ExecType.TRADE_CANCEL, corrected.exec_id)


async def test_fix_42_says_the_same_by_exec_trans_type(tmp_path: Path) -> None:
    async with a_venue("FIX.4.2") as venue, at(venue, tmp_path / "session.sqlite") as line:
        await line.broker.send([order("o-1")])
        await line.says("o-1 NEW")
        await venue.say(**fill("x1", t150="1", t20="0"))
        await venue.say(**fill("x2", "30", t150="1", t20="2", t19="x1"))
        await venue.say(**fill("x3", t150="0", t20="1", t19="x1"))
        await eventually(lambda: len(line.sink.reports()) == 4)
        kinds = [each.exec_type for each in line.sink.reports()]
        assert kinds[1:] == [ExecType.TRADE, ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL]
        known = (await line.broker.query(MAIN, ["o-1"]))["o-1"]
        assert (known.is_open, known.cum_qty) == (True, 0)  # as its matcher sees it


async def test_an_overfill_and_a_fill_after_the_cancel_are_passed_on(line: Line) -> None:
    await line.broker.cancel([order("o-1")])
    await line.says("o-1 NEW", "o-1 CANCELED")
    await line.venue.say(**fill("late", "1000"))
    await line.says("o-1 NEW", "o-1 CANCELED", "o-1 TRADE 1000@100")


async def test_a_repeated_report_is_passed_on_once(line: Line) -> None:
    for changes in ({}, {}, {"t97": "Y"}, {"t58": "once more"}):
        await line.venue.say(**fill("x1", **changes))
    await line.settled()
    await line.says("o-1 NEW", "o-1 TRADE 40@100")
    assert line.alerts.raised == []


async def test_commission_in_money_and_per_unit(line: Line) -> None:
    await line.venue.say(**fill("x1", t12="1.25", t13="3"))
    await line.venue.say(**fill("x2", "10", t12="0.01", t13="1"))
    await line.venue.say(**fill("x3", "10", t12="5", t13="2"))
    await line.venue.say(**fill("x4", "10", t12="2", t13="3", t479="EUR"))
    await eventually(lambda: len(line.sink.reports()) == 5)
    told = line.sink.reports()[1:]
    assert [str(each.commission) for each in told] == ["1.25", "0.10", "5", "2"]
    assert [each.commission_currency for each in told] == ["", "", "", "EUR"]
    assert [each.commission_kind for each in told] == ["", "", "CommType(13) '2'", ""]


async def test_a_refused_cancel_is_told(line: Line) -> None:
    line.venue.show("99", "100", None, None)
    await line.says("o-1 NEW", "o-1 TRADE 100@100")
    await line.broker.cancel([order("o-1")])
    await eventually(lambda: len(line.sink.told()) == 3)
    refusal = line.sink.told()[2]
    assert isinstance(refusal, CancelReject)
    assert (refusal.orig_cl_ord_id, refusal.unknown_order) == ("o-1", False)


async def test_a_venue_is_not_asked_to_cancel_again_at_once(line: Line) -> None:
    for _ in range(3):
        assert await line.broker.cancel([order("o-1")]) == [Delivery.SENT]
    await line.settled()
    assert [each.msg_type for each in line.venue.received].count("F") == 1


async def test_a_rejected_message_is_a_rejected_order(line: Line) -> None:
    line.venue.refuses = {"D"}
    await line.broker.send([order("o-2")])
    await line.says("o-1 NEW", "o-2 REJECTED")
    assert line.sink.reports()[1].exec_id.startswith("o-2/reject-")


async def test_a_rejected_cancel_request_is_a_refused_cancel(line: Line) -> None:
    line.venue.refuses = {"F"}
    await line.broker.cancel([order("o-1")])
    await eventually(lambda: len(line.sink.told()) == 2)
    refusal = line.sink.told()[1]
    assert isinstance(refusal, CancelReject)
    assert refusal.cl_ord_id.startswith("o-1.")


async def test_a_resend_that_does_not_say_when_it_was_sent_first_is_passed_on(line: Line) -> None:
    await line.venue.say(**fill("x1", t43="Y"))
    await line.says("o-1 NEW", "o-1 TRADE 40@100")


# ---- what is kept aside -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"t11": ""}, "ClOrdID(11)"),
        ({"t17": ""}, "names no execution"),
        ({"t150": "Z"}, "ExecType(150) is 'Z'"),
        ({"t20": "7"}, "ExecTransType(20)"),
        ({"t32": "0"}, "LastQty(32) is 0"),
        ({"t32": "-5"}, "LastQty(32) is -5"),
        ({"t32": "1e400"}, "tag 32"),
        ({"t31": "free"}, "tag 31"),
        ({"t55": "MSFT"}, "the order's is 'AAPL'"),
        ({"t54": "2"}, "the order's is '1'"),
        ({"t60": "yesterday"}, "TransactTime(60)"),
        ({"t150": "H", "t19": ""}, "names no execution"),
        ({"t12": "x", "t13": "3"}, "tag 12"),
    ],
)
async def test_garbage_is_kept_aside_and_the_session_goes_on(
    line: Line, changes: dict[str, str], why: str
) -> None:
    await line.venue.say(**fill("bad", **changes))
    await line.venue.say(**fill("good"))
    await line.says("o-1 NEW", "o-1 TRADE 40@100")
    assert line.alerts.raised == [Alert.BROKER_UNREADABLE]
    [aside] = line.look().quarantined
    assert why in aside.why
    assert "17=" in aside.message


async def test_another_fill_under_a_used_exec_id_is_kept_aside(line: Line) -> None:
    await line.venue.say(**fill("x1"))
    await line.venue.say(**fill("x1", "60"))
    await line.settled()
    await line.says("o-1 NEW", "o-1 TRADE 40@100")
    assert line.alerts.raised == [Alert.BROKER_UNREADABLE]


async def test_a_wrong_checksum_costs_nothing(line: Line) -> None:
    """The message is not counted, so the next one shows a gap, and it is sent again."""
    sent = line.venue.store.next_sender_msg_seq_num()
    await line.venue.say(**fill("x1"))
    await line.says("o-1 NEW", "o-1 TRADE 40@100")
    [raw] = line.venue.store.get(sent, sent)
    await line.venue.write(raw[:-4] + (b"000\x01" if raw[-4:-1] != b"000" else b"111\x01"))
    await line.venue.write(b"8=FIX.4.4\x019=5\x01nonsense")
    await line.venue.say(**fill("x2", "60"))
    await line.settled()  # what the nonsense swallowed shows as a gap
    await line.says("o-1 NEW", "o-1 TRADE 40@100", "o-1 TRADE 60@100")
    assert Alert.BROKER_UNREADABLE in line.alerts.raised


async def test_a_report_of_an_order_that_is_not_ours_goes_to_its_account(line: Line) -> None:
    await line.venue.say(**fill("x1", t11="somebody-elses"))
    await line.says("o-1 NEW", "somebody-elses TRADE 40@100")


# ---- the session --------------------------------------------------------------------------------


async def test_what_was_not_booked_comes_again_after_a_crash(
    venue: FixVenue, tmp_path: Path
) -> None:
    store = tmp_path / "session.sqlite"
    async with at(venue, store) as line:
        await line.broker.send([order("o-1")])
        await line.says("o-1 NEW")
    async with at(venue, store, booking=False) as line:
        await venue.say(**fill("x1"))
        await eventually(lambda: bool(line.broker._link and line.broker._link._unbooked))
        assert line.look().reports == 1
    async with at(venue, store) as line:
        await line.says("o-1 TRADE 40@100")
        await line.settled()
    async with at(venue, store) as line:
        await line.settled()
        assert line.sink.calls == []


async def test_a_fill_that_crosses_the_logout_is_not_lost(venue: FixVenue, tmp_path: Path) -> None:
    store = tmp_path / "session.sqlite"
    async with at(venue, store) as line:
        await line.broker.send([order("o-1")])
        await line.says("o-1 NEW")
        venue.says_before_logout = [fill("x1")]
    assert venue.says_before_logout == []
    async with at(venue, store) as line:
        await line.says("o-1 TRADE 40@100")


async def test_an_order_is_never_sent_by_a_resend(venue: FixVenue, tmp_path: Path) -> None:
    """The venue lost it: it is passed over, and asked about it is known never to have arrived."""
    async with at(venue, tmp_path / "session.sqlite") as line:
        before = venue.store.next_target_msg_seq_num()
        await line.broker.send([order("o-1"), order("o-2")])
        await line.says("o-1 NEW", "o-2 NEW")
    venue.store.set_next_target_msg_seq_num(before)
    venue.received.clear()
    with closing(FixStore(tmp_path / "session.sqlite", lambda: 0)) as store:
        store._db.execute("DELETE FROM reports")  # as if nothing had come back
    async with at(venue, tmp_path / "session.sqlite") as line:
        assert await line.broker.query(MAIN, ["o-1", "o-2"]) == {}
        assert [each.msg_type for each in venue.received] == []
        assert line.look().withheld == ["o-1", "o-2"]
        assert await line.broker.send([order("o-1", price="99")]) == [Delivery.SENT]
        assert "o-1" in await line.broker.query(MAIN, ["o-1"])


async def test_a_lost_connection_is_taken_up_again(line: Line) -> None:
    first = line.broker.connection
    line.venue.hang_up()
    await eventually(lambda: line.broker.connection == 0)
    assert await line.broker.send([order("o-2")]) == [Delivery.NOT_SENT]
    with pytest.raises(StoreUnavailable):
        await line.broker.query(MAIN, ["o-1"])
    await line.venue.say(**fill("x1"))
    await line.says("o-1 NEW", "o-1 TRADE 40@100")
    await eventually(lambda: line.broker.connection > first)
    assert line.alerts.raised == [Alert.BROKER_AWAY]


async def test_a_line_that_was_silent_both_ways_is_taken_up_again(
    venue: FixVenue, tmp_path: Path
) -> None:
    """Each side lost what the other sent, and asks for it: neither waits for the other."""
    async with Proxy(("127.0.0.1", venue.port)) as proxy:
        alerts, sink = Alerts(), RecordingSink()
        broker = fix_broker(tmp_path / "session.sqlite", proxy.port, observer=alerts, heartbeat_s=1)
        await broker.start(sink)
        try:
            await broker.open_account(MAIN)
            proxy.black_hole = True
            assert await broker.send([order("o-1")]) == [Delivery.SENT]
            await venue.say(**fill("x1"))
            await eventually(lambda: alerts.raised == [Alert.BROKER_AWAY])
            first = broker.connection
            proxy.heal()
            await eventually(lambda: broker.connection not in (0, first))
            await eventually(lambda: sink.seen() == ["o-1 TRADE 40@100"])
            assert "D" not in [each.msg_type for each in venue.received]
        finally:
            await broker.stop()


@pytest.mark.parametrize(
    "body",
    ["35=4\x0134={seq}\x01{head}36=500\x01", "35=A\x0134=1\x01{head}98=0\x01108=30\x01141=Y\x01"],
)
async def test_a_venue_cannot_reset_sequence_numbers(line: Line, body: str) -> None:
    head = "49=VENUE\x0156=ENGINE\x0152=20260101-00:00:00\x01"
    seq = line.venue.store.next_sender_msg_seq_num()
    inner = body.format(seq=seq, head=head).encode()
    raw = b"8=FIX.4.4\x019=%d\x01" % len(inner) + inner
    before = line.broker.connection
    await line.venue.write(raw + b"10=%03d\x01" % (sum(raw) % 256))
    await eventually(lambda: line.broker.connection not in (0, before))
    assert "only the operator" in line.look().quarantined[0].why
    await line.venue.say(**fill("x1"))
    await line.says("o-1 NEW", "o-1 TRADE 40@100")


async def test_the_operators_reset_is_announced_and_orders_stay_known(
    venue: FixVenue, tmp_path: Path
) -> None:
    path = tmp_path / "session.sqlite"
    async with at(venue, path) as line:
        await line.broker.send([order("o-1")])
        await line.says("o-1 NEW")
    with closing(FixStore(path, lambda: 0)) as store:
        store.restart(next_sender=1, next_target=1, announced=True)
    async with at(venue, path) as line:
        assert (await line.broker.query(MAIN, ["o-1"]))["o-1"].leaves_qty == 100
        assert line.look().era == 2  # one by the operator, one by the Logon that announced it
        assert line.look().next_sender < 10
    async with at(venue, path) as line:
        assert line.look().era == 2


async def test_after_a_reset_an_order_is_settled_by_the_venues_word_only(tmp_path: Path) -> None:
    async with a_venue(answers_status=False) as venue:
        path = tmp_path / "session.sqlite"
        async with at(venue, path) as line:
            await line.broker.send([order("o-1")])
            await line.says("o-1 NEW")
            assert (await line.broker.query(MAIN, ["o-1"]))["o-1"].is_open
        with closing(FixStore(path, lambda: 0)) as store:
            store.restart(next_sender=1, next_target=1, announced=True)
        async with at(venue, path) as line:
            with pytest.raises(StoreUnavailable, match="settle it by hand"):
                await line.broker.query(MAIN, ["o-1"])


async def test_one_process_has_the_session(line: Line) -> None:
    second = fix_broker(line.store, line.venue.port)
    await second.start(RecordingSink())
    with pytest.raises(StoreUnavailable, match="in use by another process"):
        await second.open_account(MAIN)
    await second.stop()


async def test_a_venue_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trade_engine.brokers.fix.OPEN_S", 0.2)
    broker = fix_broker(tmp_path / "session.sqlite", 1)
    await broker.start(RecordingSink())
    with pytest.raises(StoreUnavailable, match=r"not in step: 127\.0\.0\.1:1"):
        await broker.open_account(MAIN)
    assert await broker.send([order("o-1")]) == [Delivery.NOT_SENT]
    await broker.stop()


async def test_secrets_are_in_no_log(
    venue: FixVenue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with at(venue, tmp_path / "session.sqlite"):
        pass
    assert "554=***" in caplog.text
    assert "sesame" not in caplog.text
    assert "sesame" not in repr(fix_config(tmp_path, 1, password="sesame"))
