"""The instruments file: what may be traded, and what converts the money of another currency.

[instruments.AAPL]     something to trade
[fx.EURUSD]            by whose quotes euros are dollars
"""

from __future__ import annotations

from trade_engine.config.calendars import CALENDAR
from trade_engine.config.currencies import CURRENCIES, CURRENCY
from trade_engine.config.kinds import Kind, number, one_of, switch, text
from trade_engine.config.toml_file import Key, TomlFile
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.fx import FxPair
from trade_engine.domain.market import Instrument
from trade_engine.domain.order import OrderPolicy, WorkingOrders
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


def _working_orders(value: object) -> WorkingOrders:
    if value not in list(WorkingOrders):
        raise ValueError
    return WorkingOrders(str(value))


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
    "working_orders": Key(
        Kind("ADD or REPLACE", _working_orders),
        "what a signal does about a working order of its strategy on its side: ADD (unless set) "
        "leaves it and orders what is missing; REPLACE gives it the new quantity and price",
    ),
}


CURRENCY_CHARS = 3

FX_KEYS = {
    "symbol": Key(
        text(SYMBOL_ALLOWED, checked_symbol),
        "whose quotes tell it; the pair's name unless set",
    ),
    "inverse": Key(
        switch(),
        "true where these quotes are the other way round: what one unit of the second currency "
        "costs in the first; false unless set",
    ),
    "age_ms_max": Key(
        number("a number of ms above 0", above=0),
        "how far a quote's time may be from now",
        required=True,
    ),
    "band_bps_max": Key(
        number("a number of bps above 0", above=0),
        "how far a quote may be from the middle one of three earlier ones, kept as for "
        "`price_band_bps_max`",
        required=True,
    ),
}


def read_instruments(file: TomlFile) -> dict[str, Instrument]:
    """Read an instruments file; what is wrong with it piles up in `file.faults`."""
    found: dict[str, Instrument] = {}
    file.read((), {}, tables=("instruments", "fx"))
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


def read_fx(file: TomlFile) -> dict[tuple[str, str], FxPair]:
    """Read the `[fx.PAIR]` tables, if there are any; faults pile up in `file.faults`."""
    found: dict[tuple[str, str], FxPair] = {}
    for name in file.tables(("fx",)):
        path = ("fx", name)
        base, terms = name[:CURRENCY_CHARS], name[CURRENCY_CHARS:]
        known = base in CURRENCIES and terms in CURRENCIES and base != terms
        if not known:
            file.fault(path, "two different currencies' three letters each, for instance EURUSD")
        values = file.read(path, FX_KEYS)
        if known and values is not None:
            found[base, terms] = FxPair(base, terms, **({"symbol": name} | values))
    return found
