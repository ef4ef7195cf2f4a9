"""What the engine lets be seen, as Prometheus metrics. docs/metrics.md explains each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    start_http_server,
)

from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import ConfigError
from trade_engine.domain.order import DeliveryState
from trade_engine.execution.observer import Alert, Observer
from trade_engine.execution.ports import Committed, Delivery

log = structlog.get_logger(__name__)

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS_BUCKETS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5,
)  # fmt: skip
UNSENT = (DeliveryState.QUEUED, DeliveryState.SENDING, DeliveryState.IN_DOUBT)


class PrometheusObserver(Observer):
    """Counts what it is told. Every series that can be foreseen is there from the start, at 0."""

    def __init__(self, registry: CollectorRegistry, version: str, replica_id: str) -> None:
        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"trade_engine_{name}", meaning, labels, registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"trade_engine_{name}", meaning, labels, registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"trade_engine_{name}", meaning, registry=registry, buckets=buckets)

        info = Info("trade_engine", "Which engine this is.", registry=registry)
        info.info({"version": version, "replica_id": replica_id})
        self._gate = gauge("gate_open", "1 while signals of an account are decided.", "account_id")
        self._sender = gauge(
            "sender", "1 while this process sends an account's orders.", "account_id"
        )
        self._unsent = gauge(
            "orders_unsent", "Open orders not known to be sent.", "account_id", "delivery"
        )
        self._batch_requests = histogram(
            "batch_requests", "Requests that were settled together.", BATCH_BUCKETS
        )
        self._batch_seconds = histogram(
            "batch_seconds", "Time from a batch's first try to its answers.", SECONDS_BUCKETS
        )
        self._commits = counter("commits", "Answers of the record to a commit.", "outcome")
        self._decisions = counter("decisions", "Signals decided for good.", "outcome")
        self._reasons = counter(
            "decision_reasons", "Reasons of decisions; one decision may have several.", "reason"
        )
        self._reports = counter("reports", "Execution reports taken in, repeats included.")
        self._fills = counter("fills", "Fills booked.")
        self._handed_over = counter(
            "orders_handed_over", "Orders handed to a broker, by what is known of them.", "delivery"
        )
        self._alerts = counter("alerts", "What a person must look at.", "name")
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """A series that appears with its first event shows no increase: let it be there before."""
        for outcome in Committed:
            self._commits.labels(outcome)
        for verdict in Outcome:
            self._decisions.labels(verdict)
        for reason in Reason:
            self._reasons.labels(reason)
        for delivery in Delivery:
            self._handed_over.labels(delivery)
        for alert in Alert:
            self._alerts.labels(alert)

    def gate(self, account_id: str, *, is_open: bool) -> None:
        """Show whether the gate is open."""
        self._gate.labels(account_id).set(is_open)

    def sender(self, account_id: str, *, is_here: bool) -> None:
        """Show whether this process is the sender."""
        self._sender.labels(account_id).set(is_here)

    def batch_settled(self, requests: int, seconds: float) -> None:
        """Count a batch's size and time."""
        self._batch_requests.observe(requests)
        self._batch_seconds.observe(seconds)

    def committed(self, outcome: Committed) -> None:
        """Count what the record answered."""
        self._commits.labels(outcome).inc()

    def decided(self, outcome: Outcome, reasons: Sequence[Reason]) -> None:
        """Count a decision, and each of its reasons."""
        self._decisions.labels(outcome).inc()
        for reason in reasons:
            self._reasons.labels(reason).inc()

    def reported(self, reports: int, fills: int) -> None:
        """Count reports, and the fills among them."""
        self._reports.inc(reports)
        self._fills.inc(fills)

    def handed_over(self, delivery: Delivery, orders: int) -> None:
        """Count orders that were handed to a broker."""
        self._handed_over.labels(delivery).inc(orders)

    def unsent(self, account_id: str, orders: Mapping[DeliveryState, int]) -> None:
        """Show how many orders wait, are on their way, or are in doubt."""
        for delivery in UNSENT:
            self._unsent.labels(account_id, delivery).set(orders.get(delivery, 0))

    def alerted(self, alert: Alert) -> None:
        """Count an alert."""
        self._alerts.labels(alert).inc()


def serve_metrics(listen: str, registry: CollectorRegistry) -> None:
    """Let Prometheus read the registry at `HOST:PORT`, from a thread that ends with the process.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    # A second series for each counter, which nobody asks for.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    host, _, port = listen.rpartition(":")
    try:
        server, _ = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be served on {listen} ({error.strerror}): choose another address "
            "with TRADE_ENGINE_METRICS_LISTEN, or unset it"
        ) from error
    log.info("metrics_served", address=f"{host}:{server.server_port}")
