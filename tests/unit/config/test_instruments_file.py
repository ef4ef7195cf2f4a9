"""An instruments file becomes instruments, or every fault in it is named with its line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from exchange_calendars import get_calendar_names

from trade_engine.config import ConfigFaults, load_rulebook
from trade_engine.config.calendars import AT_HAND
from trade_engine.config.currencies import CURRENCIES
from trade_engine.config.rulebook_writer import write_instruments
from trade_engine.domain.fx import FxPair
from trade_engine.domain.market import Instrument
from trade_engine.domain.order import OrderPolicy, WorkingOrders
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.rulebook_difference import RulebookDifference, differences

SHORTEST = """[instruments.AAPL]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
"""


def load(folder: Path, text: str) -> Rulebook:
    file = folder / "instruments.toml"
    file.write_text(text, encoding="utf-8")
    return load_rulebook(None, file)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load(folder, text)
    return [str(fault).removeprefix(f"{folder}/instruments.toml:") for fault in caught.value.faults]


def test_what_is_not_set_has_the_defaults_of_the_domain(tmp_path: Path) -> None:
    assert load(tmp_path, SHORTEST).instruments == {
        "AAPL": Instrument("AAPL", Decimal("0.01"), Decimal(1), "USD", "equity")
    }


def test_everything_may_be_set(tmp_path: Path) -> None:
    text = """
        [instruments."ES/Z6"]
        tick = "0.25"
        lot = 1
        currency = "USD"
        asset_class = "future"
        multiplier = 50
        calendar = "CME"
        shortable = false
        restricted = true
        order_policy = "IOC"
        working_orders = "REPLACE"
        """
    assert load(tmp_path, text).instruments == {
        "ES/Z6": Instrument(
            "ES/Z6",
            Decimal("0.25"),
            Decimal(1),
            "USD",
            "future",
            multiplier=Decimal(50),
            calendar="CME",
            shortable=False,
            restricted=True,
            order_policy=OrderPolicy.IOC,
            working_orders=WorkingOrders.REPLACE,
        )
    }


@pytest.mark.parametrize(
    ("was", "becomes", "fault"),
    [
        (
            "tick = 0.01",
            "tick = 0",
            "2: instruments.AAPL.tick: got 0, allowed is a price step above 0",
        ),
        (
            "tick = 0.01\n",
            "",
            "1: instruments.AAPL.tick: got nothing, allowed is a price step above 0",
        ),
        (
            "lot = 1",
            "lot = -1",
            "3: instruments.AAPL.lot: got -1, allowed is a quantity step above 0",
        ),
        (
            "lot = 1",
            "multiplier = 0\nlot = 1",
            "3: instruments.AAPL.multiplier: got 0, allowed is a number above 0",
        ),
        (
            '"equity"',
            '"equty"',
            (
                '5: instruments.AAPL.asset_class: got "equty", allowed is one of '
                "bond, commodity, crypto, equity, etf, fund, future, fx, index, "
                "option; did you mean "
                "equity?"
            ),
        ),
        (
            '"equity"',
            "7",
            (
                "5: instruments.AAPL.asset_class: got 7, allowed is one of bond, "
                "commodity, crypto, equity, etf, fund, future, fx, index, option"
            ),
        ),
        (
            '"USD"',
            '"usd"',
            (
                '4: instruments.AAPL.currency: got "usd", allowed is a currency\'s '
                "three letters, for instance USD (ISO 4217); did you mean USD?"
            ),
        ),
        (
            "lot = 1",
            'lot = 1\ncalendar = "xnys"',
            (
                '4: instruments.AAPL.calendar: got "xnys", '
                'allowed is "24/7" or a calendar of exchange_calendars, for instance XNYS; did you '
                "mean XNYS?"
            ),
        ),
        (
            "lot = 1",
            'lot = 1\nshortable = "no"',
            '4: instruments.AAPL.shortable: got "no", allowed is true or false',
        ),
        (
            "lot = 1",
            "lot = 1\nrestricted = 0",
            "4: instruments.AAPL.restricted: got 0, allowed is true or false",
        ),
        (
            "lot = 1",
            'lot = 1\norder_policy = "ioc"',
            (
                '4: instruments.AAPL.order_policy: got "ioc", allowed is '
                "MARKETABLE_LIMIT, IOC or LIMIT"
            ),
        ),
        (
            "lot = 1",
            "lot = 1\ntik = 1",
            (
                "4: instruments.AAPL.tik: got an unknown key (it is 1; did "
                "you mean tick?), allowed is one of tick, lot, currency, asset_class, multiplier, "
                "calendar, shortable, restricted, underlying, order_policy, "
                "working_orders"
            ),
        ),
        (
            "[instruments.AAPL]",
            '[instruments."A APL"]',
            (
                '1: instruments."A APL": got '
                '[instruments."A APL"], allowed is 1 to 32 characters of A-Z a-z 0-9 . _ - /, the '
                "first a letter or digit"
            ),
        ),
        (
            '"USD"',
            '"EUR"',
            (
                '4: instruments.AAPL.currency: got "EUR", allowed is the currency of '
                "every account (USD), or what [fx.EURUSD] converts"
            ),
        ),
    ],
)
def test_a_fault_has_its_line_key_value_and_what_is_allowed(
    tmp_path: Path, was: str, becomes: str, fault: str
) -> None:
    assert was in SHORTEST
    assert faults(tmp_path, SHORTEST.replace(was, becomes)) == [fault]


def test_a_dot_without_quotes_is_explained(tmp_path: Path) -> None:
    told, *_ = faults(tmp_path, SHORTEST.replace("AAPL", "BRK.B"))
    assert 'a name with a dot is written in quotes: [instruments."BRK.B"]' in told


def test_without_an_instrument_nothing_can_be_traded(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match=r"at least one \[instruments.SYMBOL\] table"):
        load(tmp_path, "[instruments]\n")


def test_each_account_can_count_what_it_may_trade(tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    account = '[accounts.{0}]\ncurrency = "{1}"\nopening_cash = 1\nbroker = "paper"\n'
    limits.write_text(account.format("a", "USD") + account.format("b", "EUR"))
    instruments = tmp_path / "instruments.toml"
    instruments.write_text(SHORTEST)
    with pytest.raises(ConfigFaults, match=r"every account \(EUR, USD\), or what \[fx.USDEUR\]"):
        load_rulebook(limits, instruments)


def test_faults_of_both_files_are_told_at_once(tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("[limits]\nbogus = 1\n")
    instruments = tmp_path / "instruments.toml"
    instruments.write_text(SHORTEST.replace("0.01", "-1"))
    with pytest.raises(ConfigFaults) as caught:
        load_rulebook(limits, instruments)
    found = {(Path(fault.file).name, fault.line, fault.key) for fault in caught.value.faults}
    assert found == {
        ("limits.toml", 0, "accounts"),
        ("limits.toml", 2, "limits.bogus"),
        ("instruments.toml", 2, "instruments.AAPL.tick"),
    }


def test_calendars_at_hand_are_real() -> None:
    assert set(AT_HAND) <= set(get_calendar_names())


def test_currencies_are_three_letters() -> None:
    assert {"USD", "EUR", "GBP", "JPY", "CHF"} <= CURRENCIES
    assert all(len(code) == 3 and code.isupper() and code.isascii() for code in CURRENCIES)


EUROPEAN = SHORTEST.replace("AAPL", "SAP").replace("USD", "EUR")
PAIR = """[fx.EURUSD]
age_ms_max = 5000
band_bps_max = 200
"""


def test_a_pair_converts_another_currency(tmp_path: Path) -> None:
    rulebook = load(tmp_path, EUROPEAN + PAIR)
    five, band = Decimal(5000), Decimal(200)
    assert rulebook.fx == {("EUR", "USD"): FxPair("EUR", "USD", "EURUSD", five, band)}
    other_way = PAIR + 'symbol = "USDEUR"\ninverse = true\n'
    assert load(tmp_path, EUROPEAN + other_way).fx == {
        ("EUR", "USD"): FxPair("EUR", "USD", "USDEUR", five, band, inverse=True)
    }


@pytest.mark.parametrize("more", ["", 'symbol = "USDEUR"\ninverse = true\n'])
def test_pairs_are_journaled_and_written_as_they_were_read(tmp_path: Path, more: str) -> None:
    rulebook = load(tmp_path, EUROPEAN + PAIR + more)
    assert Rulebook.from_json(rulebook.to_json()).fx == rulebook.fx
    again = load(tmp_path, write_instruments(rulebook))
    assert (again.fx, again.version) == (rulebook.fx, rulebook.version)
    assert "fx" not in load(tmp_path, SHORTEST).to_json()  # versions of old stay as they were


def test_a_change_of_a_pair_is_a_difference(tmp_path: Path) -> None:
    before = load(tmp_path, EUROPEAN + PAIR)
    after = load(tmp_path, EUROPEAN + PAIR.replace("5000", "9000"))
    assert differences(before, after) == [
        RulebookDifference("fx.EURUSD.age_ms_max", "5000", "9000")
    ]


def test_what_may_not_be_sold_short_any_more_is_a_difference(tmp_path: Path) -> None:
    before = load(tmp_path, SHORTEST)
    after = load(tmp_path, SHORTEST + "shortable = false\n")
    assert differences(before, after) == [
        RulebookDifference("instruments.AAPL.shortable", "true", "false")
    ]


def test_all_faults_of_pairs_are_told_at_once(tmp_path: Path) -> None:
    text = (
        EUROPEAN
        + """[fx.EUREUR]
age_ms_max = 1
band_bps_max = 1
[fx.EURUSD]
age_ms_max = 0
inverse = "yes"
symbol = "no symbol"
bands = 1
[fx.EURXXX]
"""
    )
    told = faults(tmp_path, text)
    assert [each.partition(": got")[0] for each in told] == [
        "6: fx.EUREUR",
        "9: fx.EURUSD.band_bps_max",
        "10: fx.EURUSD.age_ms_max",
        "11: fx.EURUSD.inverse",
        "12: fx.EURUSD.symbol",
        "13: fx.EURUSD.bands",
        "14: fx.EURXXX",
        "14: fx.EURXXX.age_ms_max",
        "14: fx.EURXXX.band_bps_max",
    ]
    assert "two different currencies' three letters each, for instance EURUSD" in told[0]


def test_a_pair_is_needed_in_the_direction_of_the_account(tmp_path: Path) -> None:
    told = faults(tmp_path, EUROPEAN + PAIR.replace("EURUSD", "USDEUR"))
    allowed = "the currency of every account (USD), or what [fx.EURUSD] converts"
    assert told == [f'4: instruments.SAP.currency: got "EUR", allowed is {allowed}']
