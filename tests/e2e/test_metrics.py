"""docs/metrics.md and a running engine say the same; what is counted is what happened."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
import redis
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.engine_process import engine_process
from trade_engine.client import TradeEngineClient
from trade_engine.execution.observer import Alert

pytestmark = pytest.mark.stores

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
SECRET = "hunter2-is-no-label"
QUOTE = {"symbol": "AAPL", "bid": "149.99", "ask": "150.01"}
SIGNAL = {
    "strategy_id": "momentum-v1",
    "symbol": "AAPL",
    "side": "BUY",
    "confidence": 0.8,
    "target_exposure": 15000,
    "time_horizon": "INTRADAY",
}


class Shape(NamedTuple):
    """What the document says of a metric, but for its meaning."""

    name: str
    kind: str
    labels: tuple[str, ...]


def documented() -> set[Shape]:
    rows = re.findall(r"^\| `(trade_engine_\w+)` \| (\w+) \| ([^|]*) \|", DOCUMENT, re.MULTILINE)
    return {
        Shape(name, kind, tuple(sorted(re.findall(r"`(\w+)`", labels))))
        for name, kind, labels in rows
    }


def shape(metric: Metric) -> Shape:
    labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
    suffix = "_total" if metric.type == "counter" else ""
    return Shape(f"{metric.name}{suffix}", metric.type, tuple(sorted(labels)))


class Engine:
    """An engine whose metrics can be read, and whose stores' URLs hold a password."""

    def __init__(self, target: str, log: Path, redis_url: str) -> None:
        self.target = target
        self.log = log
        self.redis_url = redis_url

    def scraped(self) -> str:
        found = re.search(r"metrics_served\s+address=(\S+)", self.log.read_text())
        assert found, self.log.read_text()
        with urlopen(f"http://{found[1]}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def families(self) -> list[Metric]:
        return list(text_string_to_metric_families(self.scraped()))

    def value(self, series: str, /, **labels: str) -> float | None:
        return next(
            (
                sample.value
                for metric in self.families()
                for sample in metric.samples
                if sample.name == series and sample.labels == labels
            ),
            None,
        )

    def until(self, series: str, wanted: float, /, **labels: str) -> None:
        deadline = time.monotonic() + 15
        while (found := self.value(series, **labels)) != wanted:
            assert time.monotonic() < deadline, f"{series}{labels} is {found}, not {wanted}"
            time.sleep(0.05)


@pytest.fixture
def engine(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    joint = "&" if "?" in database_url else "?"
    monkeypatch.setenv("TRADE_ENGINE_DATABASE_URL", f"{database_url}{joint}password={SECRET}")
    monkeypatch.setenv("TRADE_ENGINE_REDIS_URL", redis_url)
    monkeypatch.setenv("TRADE_ENGINE_METRICS_LISTEN", "127.0.0.1:0")
    log = tmp_path / "engine.log"
    with engine_process(log=log) as running:
        yield Engine(running.target, log, redis_url)


def test_every_metric_is_documented_and_every_documented_one_is_served(engine: Engine) -> None:
    engine.until("trade_engine_orders_unsent", 0, account_id="default", delivery="IN_DOUBT")
    assert {shape(metric) for metric in engine.families()} == documented()


def test_every_alert_is_documented(engine: Engine) -> None:
    listed = DOCUMENT.partition("## Alerts")[2].partition("## Rules")[0]
    assert re.findall(r"^\| `(\w+)` \|", listed, re.MULTILINE) == [each.value for each in Alert]
    for alert in Alert:
        assert engine.value("trade_engine_alerts_total", name=alert.value) == 0


def test_what_happened_is_what_is_counted(engine: Engine) -> None:
    with TradeEngineClient(engine.target) as client:
        client.publish_quotes([QUOTE])
        client.submit(SIGNAL, signal_id="s-1")
        client.submit(SIGNAL, signal_id="s-1")
        client.submit({**SIGNAL, "symbol": "NOPE"}, signal_id="s-2")
        client.evaluate(SIGNAL, signal_id="s-3")

    engine.until("trade_engine_fills_total", 1)
    counted = {
        ("trade_engine_decisions_total", ("outcome", "APPROVED")): 1,
        ("trade_engine_decisions_total", ("outcome", "REJECTED")): 1,
        ("trade_engine_decision_reasons_total", ("reason", "INSTRUMENT_UNKNOWN")): 1,
        ("trade_engine_orders_handed_over_total", ("delivery", "SENT")): 1,
        ("trade_engine_commits_total", ("outcome", "LOST_RACE")): 0,
        ("trade_engine_sender", ("account_id", "default")): 1,
        ("trade_engine_gate_open", ("account_id", "default")): 1,
    }
    for (name, label), wanted in counted.items():
        assert engine.value(name, **dict([label])) == wanted, (name, label)
    assert engine.value("trade_engine_rpc_total", rpc="SubmitSignal", code="OK") == 3
    assert (engine.value("trade_engine_reports_total") or 0) >= 1
    assert (engine.value("trade_engine_commits_total", outcome="DONE") or 0) >= 2
    settled = engine.value("trade_engine_batch_seconds_count") or 0
    assert settled >= 3
    assert (engine.value("trade_engine_batch_requests_sum") or 0) >= settled
    assert 0 < (engine.value("trade_engine_batch_seconds_sum") or 0) < settled


def test_a_lost_redis_raises_one_alert_and_the_gate_opens_again(engine: Engine) -> None:
    with (
        redis.Redis.from_url(engine.redis_url) as store,
        TradeEngineClient(engine.target) as client,
    ):
        assert engine.value("trade_engine_alerts_total", name="gate_closed") == 0
        store.flushdb()
        client.publish_quotes([QUOTE])
        client.submit(SIGNAL, signal_id="s-1")
    engine.until("trade_engine_alerts_total", 1, name="gate_closed")
    engine.until("trade_engine_gate_open", 1, account_id="default")


def test_no_secret_is_served_or_logged(engine: Engine) -> None:
    with TradeEngineClient(engine.target) as client:
        client.status()
    assert SECRET not in engine.scraped()
    assert SECRET not in engine.log.read_text()
