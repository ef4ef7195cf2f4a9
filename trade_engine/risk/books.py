"""The check of a firm's own books: where it keeps some, they must be at hand."""

from __future__ import annotations

from trade_engine.domain.decision import CheckResult, Reason, Told
from trade_engine.risk.case import Case


def check_books(case: Case) -> Told | None:
    """The firm's portfolio service must have told, not long ago, what the account holds.

    Where none is configured there is nothing to judge; an order that lets nothing grow needs none.
    """
    fault = case.inputs.books_fault
    if fault is None or not case.grows:
        return None
    scope = case.account_scope
    if not fault:
        return "books", scope, "portfolio", "", None, None, None
    return CheckResult(
        "books",
        passed=False,
        scope=scope,
        unit="portfolio",
        reason=Reason.PORTFOLIO_UNKNOWN,
        message=f"what the account holds is unknown to the firm's books: {fault}",
    )
