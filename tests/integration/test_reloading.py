"""SIGHUP, as the process carries it out: what comes during a reload is not lost."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.integration.test_limits_change import INSTRUMENTS, limits, limits_entries, rules
from tests.support.trading import eventually, replicas
from trade_engine.config.settings import Settings
from trade_engine.reloading import Reloader

pytestmark = pytest.mark.stores


async def test_whoever_asks_during_a_reload_gets_one_more(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The file is a pipe: a reload reads on until the test has written, so it knows when it is."""
    file, instruments = tmp_path / "limits.toml", tmp_path / "instruments.toml"
    os.mkfifo(file)
    instruments.write_text(INSTRUMENTS)

    async def being_read() -> int:
        writer = 0

        async def opened() -> bool:
            nonlocal writer
            try:
                writer = os.open(file, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads
                return False
            return True

        await eventually(opened)
        return writer

    def write(writer: int, text: str) -> None:
        """Let the reader end; whoever reads next finds another pipe, and not this one's end."""
        other = tmp_path / "other"
        os.mkfifo(other)
        other.rename(file)
        os.write(writer, text.encode())
        os.close(writer)

    async with replicas(1, database_url, redis_url, rules(limits())) as [run]:
        settings = Settings(limits_file=file, instruments_file=instruments)
        reloader = Reloader(settings, run.engine, "replica-0")
        reloader.ask()
        first = await being_read()
        for _ in range(3):
            reloader.ask()
        write(first, limits(order_notional_max=1_000))
        write(await being_read(), limits(order_notional_max=2_000))

        async def reloaded() -> bool:
            return len(await limits_entries(run)) == 3

        await eventually(reloaded)
        assert reloader._reload is not None
        async with asyncio.timeout(10):
            await reloader._reload
        told = await run.engine.limits("")
        assert "order_notional_max = 2000" in told.toml
