"""`demo`: real prices, a strategy, a private engine, and something to look at."""

from trade_engine.cli.demo.command import demo

__all__ = ["demo"]
