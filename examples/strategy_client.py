"""A strategy in a few lines: say what to hold, read what the engine decided.

trade-engine quotes set AAPL --bid 149.99 --ask 150.01
python examples/strategy_client.py
"""

import sys

from trade_engine.client import TradeEngineClient, TradeEngineError

with TradeEngineClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051") as engine:
    try:
        done = engine.submit(
            strategy_id="momentum-v1",
            symbol="AAPL",
            side="BUY",
            confidence=0.82,
            target_exposure=15000,
            time_horizon="INTRADAY",
            constraints={"max_slippage_bps": 10, "max_notional": 20000},
        )
    except TradeEngineError as error:
        sys.exit(f"not decided: {error}")

print(f"{done.signal_id}: {done.decision.message}")
for check in done.decision.checks:
    print(f"  {'passed' if check.passed else check.reason:24} {check.name}: {check.message}")
