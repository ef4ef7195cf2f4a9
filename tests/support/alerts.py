"""An observer that keeps what was alerted on."""

from __future__ import annotations

from trade_engine.execution.observer import Alert, Observer


class Alerts(Observer):
    """raised holds every alert, in order."""

    def __init__(self) -> None:
        self.raised: list[Alert] = []

    def alerted(self, alert: Alert) -> None:
        self.raised.append(alert)
