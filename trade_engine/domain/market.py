"""What is traded and what it is worth: instruments and quotes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from trade_engine.domain.money import ONE, ZERO, optional_text
from trade_engine.domain.order import OrderPolicy, WorkingOrders

HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Instrument:
    """A tradable thing. tick is the price step, lot the quantity step, both positive.

    A position of q at price p is worth q * p * multiplier in `currency`. underlying is what it is a
    claim on, where that is something else than itself; asset is what its exposure is counted under,
    together with other claims on the same.
    """

    symbol: str
    tick: Decimal
    lot: Decimal
    currency: str
    asset_class: str
    multiplier: Decimal = ONE
    calendar: str = "24/7"
    shortable: bool = True
    restricted: bool = False
    underlying: str = ""
    order_policy: OrderPolicy = OrderPolicy.MARKETABLE_LIMIT
    working_orders: WorkingOrders = WorkingOrders.ADD
    asset: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Say once what every signal asks for."""
        object.__setattr__(self, "asset", self.underlying or self.symbol)


@dataclass(slots=True)
class Quote:
    """The last known market of a symbol. Missing prices are None; sizes default to None.

    time_ns is when the source saw it; source says who told.
    """

    symbol: str
    bid: Decimal | None
    ask: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    last: Decimal | None
    time_ns: int
    source: str

    def fault(self) -> str | None:
        """Name what makes the quote unusable as a price: None when it is sane."""
        bid, ask, last = self.bid, self.ask, self.last
        if bid is not None and bid <= ZERO:
            return "bid is not positive"
        if ask is not None and ask <= ZERO:
            return "ask is not positive"
        if last is not None and last <= ZERO:
            return "last is not positive"
        if bid is not None and ask is not None:
            return "bid is above ask (crossed)" if bid > ask else None
        return "neither bid and ask nor last is known" if last is None else None

    @property
    def reference(self) -> Decimal | None:
        """The price that sizes and values: the middle of bid and ask, else the last trade.

        None where `fault` names what makes it none. Every signal asks it of several quotes, so one
        with bid and ask is told in one look.
        """
        bid, ask, last = self.bid, self.ask, self.last
        if bid is not None and ask is not None:
            sane = ZERO < bid <= ask and (last is None or last > ZERO)
            return (bid + ask) * HALF if sane else None
        return None if self.fault() else last

    def to_json(self) -> dict[str, str | int]:
        """The canonical form in Redis and in the journal."""
        return {
            "symbol": self.symbol,
            "bid": optional_text(self.bid),
            "ask": optional_text(self.ask),
            "bid_size": optional_text(self.bid_size),
            "ask_size": optional_text(self.ask_size),
            "last": optional_text(self.last),
            "time_ns": self.time_ns,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, doc: dict[str, str | int]) -> Quote:
        """Read what `to_json` wrote."""

        def price(name: str) -> Decimal | None:
            written = doc[name]
            return Decimal(written) if written else None

        return cls(
            symbol=str(doc["symbol"]),
            bid=price("bid"),
            ask=price("ask"),
            bid_size=price("bid_size"),
            ask_size=price("ask_size"),
            last=price("last"),
            time_ns=int(doc["time_ns"]),
            source=str(doc["source"]),
        )
