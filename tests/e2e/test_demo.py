"""The demo: real prices in, a clean audit out, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from trade_engine.cli.demo import prices
from trade_engine.domain.errors import ConfigError

DEMO = [sys.executable, "-c", "import sys; from trade_engine.cli import main; sys.exit(main())"]
LIMIT_S = 100


def environment(folder: Path) -> dict[str, str]:
    # A short folder: sockets' paths have little room.
    return {**os.environ, "TMPDIR": str(folder)}


@pytest.fixture
def short_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="d-"))


def processes_below(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words):
            found.append(" ".join(words)[:200])
    return found


def test_the_demo_trades_is_refused_and_agrees_with_itself(short_folder: Path) -> None:
    done = subprocess.run(
        [*DEMO, "demo", "--days", "400", "--json"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment(short_folder),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert told["faults"] == []
    assert told["days"] == 400
    assert told["outcomes"]["APPROVED"] == told["orders"] > 20
    assert 0 < told["outcomes"]["REJECTED"] < told["outcomes"]["APPROVED"]
    assert told["refusals"]["ORDER_NOTIONAL_LIMIT"] > 0
    assert told["fills"] >= told["orders"]
    assert told["audit"]["verify"]["clean"]
    assert told["audit"]["replay"]["clean"]
    assert told["audit"]["replay"]["counts"]["default"]["decisions"] == told["signals"]
    assert any(float(each["quantity"]) for each in told["positions"])
    assert processes_below(short_folder) == []
    assert list(short_folder.iterdir()) == []


def test_a_demo_that_is_stopped_leaves_nothing(short_folder: Path) -> None:
    demo = subprocess.Popen(
        [*DEMO, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(short_folder),
    )
    assert demo.stdout is not None
    lines = iter(demo.stdout)
    assert "private engine" in next(lines)
    assert "APPROVED" in next(lines)
    demo.send_signal(signal.SIGTERM)
    assert demo.wait(LIMIT_S) != 0
    demo.stdout.close()
    deadline = time.monotonic() + 20
    while processes_below(short_folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_below(short_folder) == []
    assert list(short_folder.iterdir()) == []


def test_without_its_prices_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'trade-engine\[demo\]'"):
        prices.read_days(None)


def test_the_prices_are_real_and_adjusted() -> None:
    days = prices.read_days(None)
    assert (days[0][0], days[-1][0]) == ("2000-03-01", "2013-03-01")
    assert {close.symbol for close in days[-1][1]} == set(prices.SYMBOLS)
    apple = next(close for close in days[0][1] if close.symbol == "AAPL")
    assert apple.price == pytest.approx(4.186662803811)
    quote = apple.quote()
    assert float(quote["bid"]) < apple.price < float(quote["ask"])
