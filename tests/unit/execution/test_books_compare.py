"""A difference from a firm's books is journaled once it has stood, and when it changes."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.support.cases import NOW_NS, signal
from tests.support.ledgered import ALLOWED, Ledgered, fill, market
from trade_engine.audit.chain import canonical, seal
from trade_engine.audit.verify import Verification
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.trading_state import TradingState
from trade_engine.execution.books_compare import BooksComparison, compare_books
from trade_engine.execution.decisions import decide_signal
from trade_engine.execution.fills import book_report
from trade_engine.execution.observer import Alert
from trade_engine.execution.ports import Fence
from trade_engine.portfolio.comparison import Tolerance
from trade_engine.portfolio.ledger import book
from trade_engine.portfolio.view import Holding, Portfolio

D = Decimal
S = 10**9
SENDER = Fence("paper", "replica-1", 1)


class Compared(Ledgered):
    """An account that bought 10 shares at 100 for a fee of 1; its books are seen each second."""

    def __init__(self) -> None:
        super().__init__()
        self.comparison = BooksComparison(Tolerance(D(1), D(10), 5 * S))
        self.now_ns, self.alerts = NOW_NS, 0
        with self.batch() as batch:
            order = decide_signal(batch, signal(1000), ALLOWED).order
            assert order is not None
            trade = fill(order, "e-1", 10, 100)
            book_report(batch, "paper", trade, batch.state.orders[order.order_id])

    def see(
        self,
        times: int = 1,
        *,
        cash: str = "98999",
        equity: str = "99999",
        held: str = "10",
        lag_s: int = 0,
        sender: Fence | None = SENDER,
        quotes: dict[str, Any] | None = None,
    ) -> list[str]:
        """See this picture in so many seconds; answers with the differences in the state."""
        for _ in range(times):
            self.now_ns += S
            holdings = {"AAPL": Holding(D(held), D(100))} if D(held) else {}
            as_of_ns = self.now_ns - lag_s * S
            told = Portfolio("main", "USD", D(cash), D(equity), holdings, as_of_ns)
            with self.batch(quotes=quotes, now_ns=self.now_ns, sender=sender) as batch:
                compare_books(batch, told, self.comparison)
                self.alerts += [each for each, _ in batch.alerts].count(Alert.BOOKS_DIFFER)
        return sorted(self.state.books_differences)

    def entries(self) -> list[dict[str, Any]]:
        kind = EntryKind.BOOKS_COMPARED
        return [orjson.loads(each.payload) for each in self.journal if each.kind is kind]

    def verify(self) -> list[str]:
        verification = Verification("main", book)
        for each in self.journal:
            verification.take(each)
        verification.compare(self.state, self.orders.values(), self.executions)
        return [str(each) for each in verification.findings.faults]


@pytest.fixture
def account() -> Compared:
    return Compared()


def test_books_that_agree_write_nothing(account: Compared) -> None:
    assert account.see(20) == []
    assert account.entries() == []


def test_a_difference_counts_once_it_has_stood(account: Compared) -> None:
    assert account.see(5, held="7") == []
    assert account.see(held="7") == ["POSITION:AAPL"]
    assert account.see(20, held="7") == ["POSITION:AAPL"]
    [entry] = account.entries()
    [found] = entry["differences"]
    assert (found["ours"], found["theirs"], found["gap"]) == ("10", "7", "-3")
    assert (account.alerts, account.verify()) == (1, [])
    assert account.state.disagreement is None
    with account.batch() as batch:
        trading = batch.trading("main", "momentum", "AAPL")
        assert trading is None or trading.state is TradingState.ACTIVE
    assert account.see(held="10") == []
    assert [each["settled"] for each in account.entries()] == [[], ["POSITION:AAPL"]]
    assert (account.alerts, account.verify()) == (1, [])


def test_a_fill_on_its_way_is_no_difference(account: Compared) -> None:
    for held in range(20):  # always behind, never for long by the same
        assert account.see(4, held=str(held + 11)) == []
    assert account.entries() == []


def test_an_old_picture_proves_nothing(account: Compared) -> None:
    assert account.see(9, held="7", lag_s=4) == []
    assert account.see(held="7", lag_s=4) == ["POSITION:AAPL"]
    assert Compared().see(7, held="7", lag_s=-3) == ["POSITION:AAPL"]
    assert Compared().see(5, held="7", lag_s=-3) == []


def test_a_difference_that_becomes_another_is_told_again(account: Compared) -> None:
    account.see(6, held="7")
    assert account.see(5, held="6") == ["POSITION:AAPL"]
    assert len(account.entries()) == 1
    account.see(held="6")
    assert [each["differences"][0]["gap"] for each in account.entries()] == ["-3", "-4"]
    assert (account.alerts, account.verify()) == (2, [])


def test_equity_is_one_difference_whatever_the_quotes_do(account: Compared) -> None:
    for equity in ("90000", "80000", "70000", "95000", "85000", "75000", "65000"):
        account.see(equity=equity)
    assert sorted(account.state.books_differences) == ["EQUITY"]
    assert account.see(3, quotes={}) == ["EQUITY"], "nothing is known of it without a quote"
    assert account.see() == []
    assert len(account.entries()) == 2


def test_only_the_sender_compares(account: Compared) -> None:
    assert account.see(20, held="7", sender=None) == []
    assert account.entries() == []


def test_another_replica_does_not_tell_it_again(account: Compared) -> None:
    account.see(6, held="7", cash="1")
    account.comparison = BooksComparison(account.comparison.tolerance)
    assert account.see(20, held="7", cash="1.5") == ["CASH", "POSITION:AAPL"]
    assert len(account.entries()) == 1


@pytest.mark.parametrize(("at", "wrong"), [("ours", "11"), ("gap", "-4")])
@pytest.mark.parametrize("which", [0, 1])
def test_the_audit_holds_our_side_against_the_fills(
    account: Compared, at: str, wrong: str, which: int
) -> None:
    account.see(6, held="7", cash="1")
    last = account.journal[-1]
    payload = orjson.loads(last.payload)
    payload["differences"][which][at] = wrong
    account.journal[-1] = sealed = seal(
        "main", last.sequence, last.recorded_at_ns, last.kind, canonical(payload), last.prev_hash
    )
    account.state.head_hash = sealed.hash
    faults = account.verify()
    assert any("is not what the fills make it" in each for each in faults)
    assert any("differences with the firm's books" in each for each in faults)


@pytest.mark.parametrize(
    ("differs", "change", "found"),
    [
        ({"held": "7"}, {"ours": "11"}, "POSITION:AAPL is not what the fills make it"),
        ({"cash": "90000"}, {"ours": "1"}, "CASH is not what the fills make it"),
        ({"cash": "90000"}, {"gap": "1"}, "CASH is not what the fills make it"),
        ({"equity": "90000"}, {"ours": "1"}, None),
    ],
)
def test_a_comparison_that_says_other_of_us_than_the_fills_is_found(
    account: Compared, differs: dict[str, str], change: dict[str, str], found: str | None
) -> None:
    """Of equity it cannot be said afterward: it hangs on quotes that the entry does not hold."""
    account.see(6, quotes=market(AAPL=100), **differs)  # type: ignore[arg-type]
    [place] = [at for at, each in enumerate(account.journal) if each.kind is KIND]
    payload = orjson.loads(account.journal[place].payload)
    payload["differences"][0].update(change)
    account.journal[place] = replace(account.journal[place], payload=canonical(payload))

    faults = [each for each in account.verify() if "the fills make it" in each]

    assert [str(found) in each for each in faults] == ([True] if found else [])


def test_a_difference_that_stands_while_another_comes_is_no_fault_of_the_journal(
    account: Compared,
) -> None:
    account.see(6, held="7")
    assert account.see(6, held="7", cash="90000") == ["CASH", "POSITION:AAPL"]
    assert account.verify() == []


KIND = EntryKind.BOOKS_COMPARED
