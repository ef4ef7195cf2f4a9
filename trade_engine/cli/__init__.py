"""The `trade-engine` command."""

from trade_engine.cli.app import main

__all__ = ["main"]
