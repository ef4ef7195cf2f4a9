"""An audit of a running engine's account: the journal walked, the tables held against it."""

from __future__ import annotations

from collections import Counter

from tests.support.trading import ACCOUNT
from trade_engine.audit.replay import Replay
from trade_engine.audit.verify import Verification
from trade_engine.execution.decisions import decide_again
from trade_engine.execution.ports import OrderFilter
from trade_engine.portfolio.ledger import book
from trade_engine.wiring import Running


async def audit(run: Running, *brokers: str) -> Counter[str]:
    """Walk the journal, hold the tables against it, decide everything again: no fault.

    brokers are those that the account's orders went to, the paper venue unless told.
    """
    verification, replay = Verification(ACCOUNT, book), Replay(decide_again)
    after = 0
    while entries := await run.engine.queries.entries(ACCOUNT, after, 500):
        for entry in entries:
            verification.take(entry)
            replay.take(entry)
        after = entries[-1].sequence
    state = await run.record.load(ACCOUNT)
    assert state is not None
    orders = await run.engine.queries.list_orders(ACCOUNT, OrderFilter(), None, 100_000)
    booked = set()
    for broker in brokers or ("paper",):
        told = sorted(verification.exec_ids(broker))
        booked |= {(broker, each) for each in await run.record.booked(ACCOUNT, broker, told)}
    verification.compare(state, orders, booked)
    assert verification.findings.faults == []
    assert replay.findings.faults == []
    return verification.findings.counts
