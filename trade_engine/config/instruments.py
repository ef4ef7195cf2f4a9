"""The instruments file: what may be traded, one `[instruments.SYMBOL]` table each."""

from __future__ import annotations

from trade_engine.config.calendars import CALENDAR
from trade_engine.config.currencies import CURRENCY
from trade_engine.config.kinds import Kind, number, one_of, switch, text
from trade_engine.config.toml_file import Key, TomlFile
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.market import Instrument
from trade_engine.domain.order import OrderPolicy
from trade_engine.domain.signal import SYMBOL_ALLOWED, checked_symbol

ASSET_CLASSES = (
    "bond",
    "commodity",
    "crypto",
    "equity",
    "etf",
    "fund",
    "future",
    "fx",
    "index",
    "option",
)


def _order_policy(value: object) -> OrderPolicy:
    if value not in list(OrderPolicy):
        raise ValueError
    return OrderPolicy(str(value))


ORDER_POLICY = Kind("MARKETABLE_LIMIT, IOC or LIMIT", _order_policy)

INSTRUMENT_KEYS = {
    "tick": Key(number("a price step above 0", above=0), "the price step", required=True),
    "lot": Key(number("a quantity step above 0", above=0), "the quantity step", required=True),
    "currency": Key(CURRENCY, "what its prices are in", required=True),
    "asset_class": Key(
        one_of(f"one of {', '.join(ASSET_CLASSES)}", lambda _: ASSET_CLASSES),
        "the class whose exposures are counted together",
        required=True,
    ),
    "multiplier": Key(
        number("a number above 0", above=0),
        "what one unit at price 1 is worth, in `currency`; 1 unless set",
    ),
    "calendar": Key(
        CALENDAR,
        'when it trades; "24/7" unless set',
    ),
    "shortable": Key(switch(), "whether its position may be below 0; true unless set"),
    "restricted": Key(switch(), "whether it is on the restricted list; false unless set"),
    "underlying": Key(
        text(SYMBOL_ALLOWED, checked_symbol),
        "the asset that its exposure counts toward, for instance ES for all its futures; its own "
        "symbol unless set",
    ),
    "order_policy": Key(
        ORDER_POLICY,
        "MARKETABLE_LIMIT (unless set): up to the slippage bound, for as long as time_horizon "
        "says; IOC: the same price, at once or not at all; LIMIT: at the reference price, to wait "
        "there",
    ),
}


def read_instruments(file: TomlFile) -> dict[str, Instrument]:
    """Read an instruments file; what is wrong with it piles up in `file.faults`."""
    found: dict[str, Instrument] = {}
    file.read((), {}, tables=("instruments",))
    symbols = file.tables(("instruments",), at_least_one="[instruments.SYMBOL]")
    for symbol in symbols:
        path = ("instruments", symbol)
        try:
            checked_symbol(symbol, "")
        except InvalidField as fault:
            file.fault(path, fault.allowed)
        values = file.read(path, INSTRUMENT_KEYS)
        if values is not None:
            found[symbol] = Instrument(symbol=symbol, **values)
    return found
