"""A firm's own portfolio service, in a few lines: it tells what a JSON file says at that moment.

python examples/portfolio_server.py examples/portfolio.json 127.0.0.1:50061

The file has an object per account: cash, equity, currency, and positions as symbol to quantity and
average price, all numbers as strings.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import grpc

from trade_engine.v1 import portfolio_pb2, portfolio_service_pb2, portfolio_service_pb2_grpc


class PortfolioService(portfolio_service_pb2_grpc.PortfolioServiceServicer):
    """Serves the contract from a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def GetPortfolio(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802, ANN001, ANN201
        """All of an account, or an error: never a part of it, nor zeros for what is not known."""
        accounts: Any = {}
        try:
            accounts = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the books are not at hand: {error}")
        account = accounts.get(request.account_id)
        if account is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no account {request.account_id!r}")
        portfolio = portfolio_pb2.Portfolio(
            account_id=request.account_id,
            cash=account["cash"],
            equity=account["equity"],
            currency=account["currency"],
        )
        for symbol, (quantity, avg_px) in sorted(account["positions"].items()):
            portfolio.positions.add(symbol=symbol, quantity=quantity, avg_px=avg_px)
        portfolio.as_of_time.GetCurrentTime()
        return portfolio_service_pb2.GetPortfolioResponse(portfolio=portfolio)


async def serve(file: Path, address: str) -> None:
    """Serve until Ctrl-C."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    service = PortfolioService(file)
    portfolio_service_pb2_grpc.add_PortfolioServiceServicer_to_server(service, server)
    port = server.add_insecure_port(address)
    await server.start()
    print(f"serving {file} on port {port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
