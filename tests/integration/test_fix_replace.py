"""Requests to replace over FIX: new names, what gets lost, and what is never sent twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.fix import fix_broker
from tests.support.fix_venue import FixVenue
from tests.support.paper import RecordingSink, eventually, order, seen
from trade_engine.brokers.fix import FixBroker
from trade_engine.brokers.fix_store import FixStore
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.execution import CancelReject, ExecType, ExecutionReport
from trade_engine.domain.replacement import ApprovedReplacement, Replacement, Terms
from trade_engine.execution.ports import Delivery

MAIN = "main"
ACCEPTED = ["o-1 NEW", "o-1.r2 REPLACED"]


@dataclass
class Line:
    """A broker with its account open at a venue where order o-1 rests: 100 at 100."""

    broker: FixBroker
    sink: RecordingSink

    async def says(self, *expected: str) -> None:
        await eventually(lambda: len(self.sink.told()) >= len(expected))
        assert seen(self.sink.told()) == list(expected)

    async def leaves(self, asked: str = "o-1") -> int:
        return int((await self.broker.query(MAIN, [asked]))[asked].leaves_qty)


@pytest.fixture(params=["FIX.4.2", "FIX.4.4"])
async def venue(request: pytest.FixtureRequest) -> AsyncIterator[FixVenue]:
    venue = FixVenue(request.param)
    await venue.start()
    yield venue
    await venue.stop()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "session.sqlite"


@asynccontextmanager
async def at(venue: FixVenue, store: Path, *, booking: bool = True) -> AsyncIterator[Line]:
    sink = RecordingSink()
    if not booking:
        sink.opened.clear()
    broker = fix_broker(store, venue.port, venue.version, can_replace=True)
    await broker.start(sink)
    await broker.open_account(MAIN)
    try:
        yield Line(broker, sink)
    finally:
        await broker.stop()


@asynccontextmanager
async def resting(venue: FixVenue, store: Path) -> AsyncIterator[Line]:
    async with at(venue, store) as line:
        await line.broker.send([order("o-1")])
        await line.says("o-1 NEW")
        yield line


def request(
    cl_ord_id: str = "o-1.r2", quantity: str = "60", price: str = "99", original: str = "o-1"
) -> ApprovedReplacement:
    terms = Terms("o-1", cl_ord_id, Decimal(quantity), Decimal(price))
    return ApprovedReplacement(Replacement(order("o-1"), terms, original))


def kinds(venue: FixVenue) -> list[str]:
    return [each.msg_type for each in venue.received]


async def test_terms_that_a_venue_does_not_repeat_are_those_asked_for(
    venue: FixVenue, store: Path
) -> None:
    venue.states_terms = False
    async with resting(venue, store) as line:
        assert await line.broker.replace([request()]) == [Delivery.SENT]
        await line.says(*ACCEPTED)
        told = line.sink.told()[1]
        assert isinstance(told, ExecutionReport)
        assert (told.orig_cl_ord_id, told.order_qty, told.price) == ("o-1", 60, 99)
        assert await line.leaves() == 60


async def test_whatever_follows_is_asked_for_by_the_new_name(venue: FixVenue, store: Path) -> None:
    """The venue knows an order by the ClOrdID that it accepted last, and by no other."""
    async with resting(venue, store) as line:
        await line.broker.replace([request()])
        await line.says(*ACCEPTED)
        await line.broker.replace([request("o-1.r3", "50", "98", original="o-1.r2")])
        await line.says(*ACCEPTED, "o-1.r3 REPLACED")
    async with at(venue, store) as line:  # from the file
        venue.received.clear()
        assert await line.leaves() == 50
        await line.broker.cancel([order("o-1")])
        await line.says("o-1 CANCELED")
        question, cancel = venue.received
        assert (question.msg_type, question.get(11)) == ("H", "o-1.r3")
        assert (cancel.msg_type, cancel.get(41), cancel.get(38)) == ("F", "o-1.r3", "50")


async def test_a_name_that_the_venue_does_not_know_is_refused(venue: FixVenue, store: Path) -> None:
    async with resting(venue, store) as line:
        await line.broker.replace([request(original="o-1.r1")])
        await line.says("o-1 NEW", "o-1.r2 REFUSED")
        refusal = line.sink.told()[1]
        assert isinstance(refusal, CancelReject)
        assert refusal.unknown_order
        assert await line.leaves() == 100


async def test_a_rejected_message_is_a_refused_request(venue: FixVenue, store: Path) -> None:
    venue.refuses = {"G"}
    async with resting(venue, store) as line:
        await line.broker.replace([request()])
        await line.says("o-1 NEW", "o-1.r2 REFUSED")
        assert await line.leaves() == await line.leaves("o-1.r2") == 100


async def test_an_answer_that_was_not_booked_comes_again_after_a_crash(
    venue: FixVenue, store: Path
) -> None:
    async with resting(venue, store):
        pass
    async with at(venue, store, booking=False) as line:
        await line.broker.replace([request()])
        await eventually(lambda: bool(line.broker._link and line.broker._link._unbooked))
    async with at(venue, store) as line:
        await line.says("o-1.r2 REPLACED")
        assert await line.broker.replace([request()]) == [Delivery.SENT]
        assert await line.broker.replace([request(price="98")]) == [Delivery.IN_DOUBT]
        assert await line.leaves("o-1.r2") == 60
    assert kinds(venue).count("G") == 1


async def test_a_request_is_never_sent_by_a_resend(venue: FixVenue, store: Path) -> None:
    """Written, and lost before the venue read it: it is passed over, and may then be sent anew."""
    async with resting(venue, store) as line:
        before = venue.store.next_target_msg_seq_num()
        await line.broker.replace([request()])
        await line.says(*ACCEPTED)
    venue.store.set_next_target_msg_seq_num(before)
    venue.received.clear()
    with closing(FixStore(store, lambda: 0)) as written:
        written._db.execute("UPDATE requests SET heard = 0")  # as if nothing had come back
    async with at(venue, store) as line:
        assert await line.broker.query(MAIN, ["o-1.r2"]) == {}
        assert "G" not in kinds(venue)
        assert await line.broker.replace([request()]) == [Delivery.SENT]
        await eventually(lambda: kinds(venue).count("G") == 1)
        assert "o-1.r2" in await line.broker.query(MAIN, ["o-1.r2"])


async def test_a_pending_request_is_read_but_not_answered(venue: FixVenue, store: Path) -> None:
    async with resting(venue, store) as line:
        before = venue.store.next_target_msg_seq_num()
        await line.broker.replace([request()])
        await line.says(*ACCEPTED)
    with closing(FixStore(store, lambda: 0)) as written:
        written._db.execute("UPDATE requests SET heard = 0")
        pending = replace(line.sink.reports()[1], exec_type=ExecType.PENDING_REPLACE)
        written.book([pending], written.next_target_msg_seq_num())
        [unanswered] = written.unanswered_requests()
        assert (unanswered.order_qty, unanswered.price) == (60, 99)
        written.get(before, before + 10)  # the venue asks for it, though it has read it
        assert not written.find_requests(MAIN, ["o-1.r2"])["o-1.r2"].withheld


@pytest.mark.parametrize("answered", [True, False])
async def test_after_a_reset_an_unanswered_request_is_settled_by_hand(
    venue: FixVenue, store: Path, *, answered: bool
) -> None:
    async with resting(venue, store) as line:
        await line.broker.replace([request()])
        await line.says(*ACCEPTED)
    with closing(FixStore(store, lambda: 0)) as written:
        if not answered:
            written._db.execute("UPDATE requests SET heard = 0")
        written.restart(next_sender=1, next_target=1, announced=True)
    async with at(venue, store) as line:
        assert await line.leaves("o-1") == 60
        if answered:
            assert await line.leaves("o-1.r2") == 60
            return
        with pytest.raises(StoreUnavailable, match="settle it by hand"):
            await line.broker.query(MAIN, ["o-1.r2"])


async def test_a_venue_that_is_not_said_to_replace_is_not_asked_to(
    venue: FixVenue, store: Path
) -> None:
    broker = fix_broker(store, venue.port, venue.version)
    await broker.start(RecordingSink())
    await broker.open_account(MAIN)
    try:
        assert broker.can_replace is False
        assert await broker.replace([request()]) == [Delivery.NOT_SENT]
        assert "G" not in kinds(venue)
    finally:
        await broker.stop()
