"""A resting order at a venue that none of us wrote, the engine killed, the order filled meanwhile.

QuickFIX's `ordermatch` matches the engine's order with another client's while the engine is dead:
started again it books both fills, and each once.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.support import quickfix
from tests.support.e2e import WIDE_LIMITS, Client, assert_clean, connected, eventually
from tests.support.engine_process import engine_process
from tests.support.fix_client import OtherClient
from trade_engine.storage.postgres.url import connection_words
from trade_engine.v1 import order_pb2

pytestmark = [pytest.mark.stores, pytest.mark.faults]

BROKERS = """
[fix.ordermatch]
version = "FIX.4.2"
host = "127.0.0.1"
port = {port}
sender_comp_id = "ENGINE"
target_comp_id = "VENUE"
store = "{store}"
live = false
"""


def files(folder: Path, port: int) -> list[str | Path]:
    brokers, limits = folder / "brokers.toml", folder / "limits.toml"
    brokers.write_text(BROKERS.format(port=port, store=folder / "session.sqlite"))
    limits.write_text(WIDE_LIMITS.replace('broker = "paper"', 'broker = "ordermatch"'))
    return ["--limits", limits, "--brokers", brokers]


async def only_order(client: Client, status: order_pb2.OrdStatus.ValueType) -> bool:
    return [each.ord_status for each in await client.orders()] == [status]


def fills(database_url: str) -> list[tuple[str, str, int, int]]:
    with psycopg.connect(**connection_words(database_url)) as connection:
        return connection.execute(
            "SELECT broker, exec_id, last_qty, last_px FROM fills ORDER BY sequence"
        ).fetchall()


async def test_fills_while_the_engine_was_dead_are_booked_once(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    stores = ("--database-url", database_url, "--redis-url", redis_url)
    log = tmp_path / "engine.log"
    with quickfix.running("ordermatch", tmp_path / "venue", ["ENGINE", "OTHER"]) as venue:
        options = (*stores, *files(tmp_path, venue.port))
        with engine_process(*options, log=log) as engine, OtherClient(venue.port) as other:
            async with connected(engine.target) as client:
                await client.publish()
                decision = await client.submit(target_exposure=15_000.0)
                assert decision.order.order_id
                quantity = int(decision.order.order_qty)
                await eventually(lambda: only_order(client, order_pb2.ORD_STATUS_NEW))
            engine.kill()
            other.trade("2", "40", "149")
            other.trade("2", str(quantity), "149")
        for _ in range(2):  # and the second start finds nothing more
            with engine_process(*options, log=log) as engine:
                async with connected(engine.target) as client:
                    await eventually(lambda: only_order(client, order_pb2.ORD_STATUS_FILLED))
                    [order] = await client.orders()
                    assert int(order.cum_qty) == quantity
                engine.kill()
            name = f"{decision.order.order_id}/"
            assert [(row[0], *map(int, row[2:])) for row in fills(database_url)] == [
                ("ordermatch", 40, 149),
                ("ordermatch", quantity - 40, 149),
            ]
            assert all(row[1].startswith(name) for row in fills(database_url))
        counts = await assert_clean(database_url)
        assert counts["fills"] == 2
