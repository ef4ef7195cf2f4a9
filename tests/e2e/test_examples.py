"""The examples run as their first lines say, against a real engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_process import engine_process
from trade_engine.client import TradeEngineClient

pytestmark = pytest.mark.stores

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
LIMIT_S = 60


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("examples")
    with engine_process("--data-dir", folder / "data", log=folder / "log") as engine:
        yield engine.target


@pytest.fixture(autouse=True)
def a_quote(target: str) -> None:
    with TradeEngineClient(target) as client:
        client.publish_quotes([{"symbol": "AAPL", "bid": "149.99", "ask": "150.01"}])


def test_the_strategy_client(target: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "strategy_client.py", target],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert "BUY" in done.stdout
    assert "order_notional" in done.stdout


def test_the_dashboard_client(target: str) -> None:
    dashboard = subprocess.Popen(
        [sys.executable, EXAMPLES / "dashboard_client.py", target],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert dashboard.stdout is not None
    lines = iter(dashboard.stdout)
    assert next(line for line in lines if line.startswith("--"))
    with TradeEngineClient(target) as client:
        client.submit(
            json.loads((EXAMPLES / "signal.json").read_text()), signal_id="d-1", strategy_id="other"
        )
    assert "FILLED: 100 of 100" in next(line for line in lines if "FILLED" in line)
    dashboard.terminate()
    dashboard.wait(LIMIT_S)
    dashboard.stdout.close()


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with what it needs installed; skips where that cannot be had."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("NOT RUN: the JavaScript client needs node and npm")
    folder = tmp_path_factory.mktemp("javascript")
    copy = folder / "examples" / "javascript"
    shutil.copytree(EXAMPLES / "javascript", copy, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(ROOT / "proto", folder / "proto")
    words = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    installed = subprocess.run(
        words, cwd=copy, capture_output=True, text=True, timeout=90, check=False
    )
    if installed.returncode:
        pytest.skip(f"NOT RUN: npm cannot install @grpc/grpc-js: {installed.stderr[-300:]}")
    return copy


def test_a_javascript_client_submits_the_signal_as_it_stands(target: str, javascript: Path) -> None:
    file = javascript / "signal.json"
    signal = json.loads((EXAMPLES / "signal.json").read_text()) | {"strategy_id": "javascript"}
    file.write_text(json.dumps(signal))
    done = subprocess.run(
        ["node", "client.js", target, file],
        cwd=javascript,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    decision = json.loads(done.stdout)["decision"]
    assert decision["outcome"] == "OUTCOME_APPROVED"
    assert decision["signal"]["side"] == "BUY"
    assert decision["signal_id"] == signal["signal_id"]
