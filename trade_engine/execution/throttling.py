"""Which throttles a batch asks, and who each verdict is for."""

from __future__ import annotations

from trade_engine.domain.limits import ACCOUNT_RATE, CANCEL_RATE, STRATEGY_RATE, Limits, Rate
from trade_engine.domain.signal import Signal
from trade_engine.execution.ports import ThrottleRequest, ThrottleVerdict, Verdicts
from trade_engine.execution.requests import CancelRequest


class Throttles:
    """Collects the questions of a batch, and hands out the answers by the id() of who asked."""

    def __init__(self, limits: Limits, account_id: str, now_ns: int) -> None:
        self._now_ns = now_ns
        self.requests: list[ThrottleRequest] = []
        self._limits = limits
        self._account_id = account_id
        self._asked: dict[int, tuple[int | None, int | None]] = {}

    def ask_for_signal(self, signal: Signal) -> None:
        """A signal takes from its strategy's rate and from its account's, or from neither.

        So a strategy that sends too fast takes nothing from the others.
        """
        strategy_id, account = signal.strategy_id, self._rate(ACCOUNT_RATE)
        strategy = self._rate(STRATEGY_RATE, strategy_id)
        self._asked[id(signal)] = (
            self._ask(f"strategy:{strategy_id}", strategy, with_next=account is not None),
            self._ask("account", account),
        )

    def ask_for_cancel(self, request: CancelRequest) -> None:
        """A cancel takes from the cancels' own rate, and from no other."""
        self._asked[id(request)] = (None, self._ask("cancels", self._rate(CANCEL_RATE)))

    def answers(self, verdicts: list[ThrottleVerdict]) -> dict[int, Verdicts]:
        """The verdicts on `requests`, for each who asked."""
        return {
            asker: Verdicts(
                None if strategy is None else verdicts[strategy],
                None if account is None else verdicts[account],
            )
            for asker, (strategy, account) in self._asked.items()
        }

    def _rate(self, name: str, strategy_id: str = "") -> Rate | None:
        """The rate to ask at; None where none is set, or it is waived."""
        rate = self._limits.rate(self._now_ns, self._account_id, strategy_id, name)
        return None if rate is None or rate.is_waived else rate

    def _ask(self, key: str, rate: Rate | None, *, with_next: bool = False) -> int | None:
        """The place of the verdict to come; None where there is no throttle to ask."""
        if rate is None:
            return None
        self.requests.append(ThrottleRequest(key, rate, with_next))
        return len(self.requests) - 1
