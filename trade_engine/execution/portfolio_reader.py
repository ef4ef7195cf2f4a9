"""What the engine's own ledger says an account holds, from the record and the quotes of now."""

from __future__ import annotations

from trade_engine.domain.account import AccountState
from trade_engine.domain.errors import NotFound, StoreUnavailable
from trade_engine.domain.position import Position
from trade_engine.execution.batch import Batch
from trade_engine.execution.parts import EngineParts
from trade_engine.portfolio.view import Portfolio, holding


async def read_portfolio(parts: EngineParts, account_id: str) -> Portfolio:
    """The account as of its head, valued at quotes that are sane and fresh.

    Raises:
        NotFound: the account was never opened.
        StoreUnavailable: a store does not answer, or something held has no usable quote: never
            half a picture.
    """
    state = await parts.stores.record.load(account_id)
    if state is None:
        raise NotFound("account", account_id=account_id)
    symbols = sorted({symbol for (_, symbol), held in state.positions.items() if held.quantity})
    rulebook = parts.rulebooks.latest.rulebook
    quotes = await parts.stores.risk.quotes(rulebook.with_fx(symbols, state.currency))
    batch = Batch(state, rulebook, parts.clock(), quotes, {}, earlier_quotes=quotes)
    equity = batch.equity()
    if equity is None:
        unpriced = [each for each in batch.exposure.symbols_held() if not batch.unit_value(each)]
        raise StoreUnavailable(
            f"equity of account {account_id} is not known: no usable quote of {', '.join(unpriced)}"
        )
    return Portfolio(
        account_id=account_id,
        currency=state.currency,
        cash=state.cash,
        equity=equity,
        holdings={
            symbol: holding(_of(state, symbol), batch.multiplier(symbol))
            for symbol in sorted(batch.exposure.symbols_held())
        },
        as_of_ns=batch.now_ns,
    )


def _of(state: AccountState, symbol: str) -> list[Position]:
    return [each for (_, name), each in state.positions.items() if name == symbol]
