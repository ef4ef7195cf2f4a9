"""A dashboard in a few lines: every open order, and then every change, without missing one.

python examples/dashboard_client.py
"""

import asyncio
import contextlib
import sys

from trade_engine.client import (
    AsyncTradeEngineClient,
    OrderSnapshot,
    OrderUpdate,
    OrdStatus,
    SnapshotEnd,
)


async def main(target: str) -> None:
    """Follow the orders until Ctrl-C; a lost connection is resumed by itself."""
    async with AsyncTradeEngineClient(target) as engine:
        async for event in engine.watch():
            match event:
                case SnapshotEnd():
                    print(f"-- {event.count} open as of sequence {event.sequence}", flush=True)
                case OrderSnapshot(order=order) | OrderUpdate(order=order):
                    status = OrdStatus.Name(order.ord_status).removeprefix("ORD_STATUS_")
                    print(
                        f"{order.symbol:8} {order.order_id} {status}: "
                        f"{order.cum_qty} of {order.order_qty} at {order.avg_px}",
                        flush=True,
                    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
