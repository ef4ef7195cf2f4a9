"""A limits file becomes accounts and limits, or every fault in it is named with its line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from trade_engine.config import ConfigFaults, load_rulebook
from trade_engine.config.limits import LIMIT_KEYS
from trade_engine.config.rates import RATE_KEYS
from trade_engine.domain.limits import (
    GROSS_EXPOSURE,
    NUMERIC_LIMITS,
    ORDER_NOTIONAL,
    RATES,
    SLIPPAGE,
    STRATEGY_RATE,
    Level,
    Limit,
    Rate,
)
from trade_engine.domain.rulebook import AccountTerms, Rulebook
from trade_engine.domain.rulebook_difference import differences
from trade_engine.risk.throttles import emission_ns

ACCOUNT = """[accounts.main]
currency = "USD"
opening_cash = 1000
broker = "paper"
"""
FIRST_LINE = ACCOUNT.count("\n") + 1
"""Where what a test adds begins."""


def load(folder: Path, text: str) -> Rulebook:
    file = folder / "limits.toml"
    file.write_text(text, encoding="utf-8")
    return load_rulebook(file, None)


def faults(folder: Path, text: str) -> list[str]:
    """The faults of a file, each without the folder."""
    with pytest.raises(ConfigFaults) as caught:
        load(folder, text)
    assert caught.value.message == "\n".join(map(str, caught.value.faults))
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


def test_every_level_says_where_it_was_set(tmp_path: Path) -> None:
    rulebook = load(
        tmp_path,
        ACCOUNT
        + """
        [limits]
        order_notional_max = 50000
        [limits.account.main]
        order_notional_max = 40000
        [limits.strategy."momentum-v1"]
        order_notional_max = 30000
        [limits.asset_class.equity]
        order_notional_max = 25000
        [limits.symbol.AAPL]
        order_notional_max = 20000
        [limits.strategy_symbol."momentum-v1|AAPL"]
        order_notional_max = 10000
        """,
    )
    name = ORDER_NOTIONAL.name
    assert rulebook.limits.numbers == {
        (Level.DEFAULT, ""): {name: Limit(Decimal(50000), "limits.toml:default")},
        (Level.ACCOUNT, "main"): {name: Limit(Decimal(40000), "limits.toml:account main")},
        (Level.STRATEGY, "momentum-v1"): {
            name: Limit(Decimal(30000), "limits.toml:strategy momentum-v1")
        },
        (Level.ASSET_CLASS, "equity"): {
            name: Limit(Decimal(25000), "limits.toml:asset_class equity")
        },
        (Level.SYMBOL, "AAPL"): {name: Limit(Decimal(20000), "limits.toml:symbol AAPL")},
        (Level.STRATEGY_SYMBOL, "momentum-v1|AAPL"): {
            name: Limit(Decimal(10000), "limits.toml:strategy_symbol momentum-v1|AAPL")
        },
    }


def test_rates_are_read_on_their_levels(tmp_path: Path) -> None:
    rulebook = load(
        tmp_path,
        ACCOUNT
        + """
        limits.strategy_signal_rate = { count = 30, per_ms = 1000, burst = 60 }
        [limits.account.main.strategy_signal_rate]
        count = 20
        per_ms = 500
        burst = 0
        [limits.strategy.slow]
        strategy_signal_rate.count = 1
        strategy_signal_rate.per_ms = 60_000
        strategy_signal_rate.burst = 2
        """.replace("limits.strategy_signal_rate = {", "[limits]\nstrategy_signal_rate = {"),
    )
    assert rulebook.limits.rates == {
        (Level.DEFAULT, ""): {
            STRATEGY_RATE: Rate(30, 1_000_000_000, 60, "limits.toml:default"),
        },
        (Level.ACCOUNT, "main"): {
            STRATEGY_RATE: Rate(20, 500_000_000, 0, "limits.toml:account main"),
        },
        (Level.STRATEGY, "slow"): {
            STRATEGY_RATE: Rate(1, 60_000_000_000, 2, "limits.toml:strategy slow"),
        },
    }


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("0.1", "0.1"),
        ('"0.1"', "0.1"),
        ("49_999.999999999999", "49999.999999999999"),
        ("1_000_000_000_000_000", "1000000000000000"),
        ("5e3", "5000"),
        ("0x10", "16"),
    ],
)
def test_numbers_are_exactly_what_was_written(tmp_path: Path, written: str, exact: str) -> None:
    rulebook = load(tmp_path, f"{ACCOUNT}[limits]\ngross_exposure_max = {written}\n")
    limit = rulebook.limits.numbers[Level.DEFAULT, ""][GROSS_EXPOSURE.name]
    assert limit.value == Decimal(exact)
    assert type(limit.value) is Decimal


def test_accounts_are_read(tmp_path: Path) -> None:
    second = '[accounts."a.b:c"]\ncurrency = "USD"\nopening_cash = "0.50"\nbroker = "paper"\n'
    assert load(tmp_path, ACCOUNT + second).accounts == {
        "main": AccountTerms("main", "USD", Decimal(1000), "paper"),
        "a.b:c": AccountTerms("a.b:c", "USD", Decimal("0.50"), "paper"),
    }


CLASSES = "bond, commodity, crypto, equity, etf, fund, future, fx, index, option"
ROUTES = """
[accounts.main.routes.asset_class]
equity = "prime"
crypto = "coins"

[accounts.main.routes.symbol]
AAPL = "street"
"""


def test_routes_send_a_symbol_or_an_asset_class_to_another_broker(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(ACCOUNT + ROUTES, encoding="utf-8")
    rulebook = load_rulebook(file, None, ("prime", "street", "coins"))
    terms = rulebook.accounts["main"]
    assert terms.brokers == ("paper", "street", "prime", "coins")
    for symbol, asset_class, broker in (
        ("AAPL", "equity", "street"),
        ("MSFT", "equity", "prime"),
        ("BTCUSD", "crypto", "coins"),
        ("EURUSD", "fx", "paper"),
    ):
        assert terms.broker_for(symbol, asset_class) == broker
    assert Rulebook.from_json(rulebook.to_json()).accounts == rulebook.accounts
    plain = load(tmp_path, ACCOUNT)
    assert {each.path: each.after for each in differences(plain, rulebook)} == {
        "accounts.main.routes.asset_class.crypto": "coins",
        "accounts.main.routes.asset_class.equity": "prime",
        "accounts.main.routes.symbol.AAPL": "street",
    }


def test_lists_are_told_in_differences(tmp_path: Path) -> None:
    strategy = '[strategies.m]\nsymbols = ["AAPL", "MSFT"]\n'
    told = differences(load(tmp_path, ACCOUNT), load(tmp_path, ACCOUNT + strategy))
    assert ("strategies.m.symbols", "", "AAPL, MSFT") in [
        (each.path, each.before, each.after) for each in told
    ]


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        (
            '[accounts.main.routes.symbol]\nAAPL = "stret"',
            (
                'limits.toml:6: accounts.main.routes.symbol.AAPL: got "stret", allowed is '
                "paper or street; did you mean street?"
            ),
        ),
        (
            '[accounts.main.routes.symbol]\nAPPL = "paper"',
            (
                'limits.toml:6: accounts.main.routes.symbol.APPL: got "paper", allowed is '
                "an instrument of default_instruments.toml; did you mean AAPL?"
            ),
        ),
        (
            '[accounts.main.routes.asset_class]\nequitis = "paper"',
            (
                'limits.toml:6: accounts.main.routes.asset_class.equitis: got "paper", '
                f"allowed is one of {CLASSES}; did you mean equity?"
            ),
        ),
        (
            "[accounts.main.routes.symbol]\nAAPL = 5",
            (
                "limits.toml:6: accounts.main.routes.symbol.AAPL: got 5, allowed is "
                "paper, or the name of a session in the brokers file"
            ),
        ),
        (
            '[accounts.main.routes.symbl]\nAAPL = "paper"',
            (
                "limits.toml:5: accounts.main.routes.symbl: got an unknown key (it is "
                "[accounts.main.routes.symbl]; did you mean symbol?), allowed is "
                "one of symbol, asset_class"
            ),
        ),
    ],
)
def test_a_route_that_leads_nowhere_is_a_fault(tmp_path: Path, route: str, fault: str) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(f"{ACCOUNT}{route}\n", encoding="utf-8")
    with pytest.raises(ConfigFaults) as caught:
        load_rulebook(file, None, ("street",))
    assert [str(each).removeprefix(f"{tmp_path}/") for each in caught.value.faults] == [fault]


def test_an_account_may_start_with_nothing(tmp_path: Path) -> None:
    text = ACCOUNT.replace("opening_cash = 1000", "opening_cash = 0")
    assert load(tmp_path, text).accounts["main"].opening_cash == 0


def test_limits_may_be_unset(tmp_path: Path) -> None:
    assert load(tmp_path, ACCOUNT).limits.numbers == {}


def test_every_limit_of_the_domain_has_a_key() -> None:
    assert list(LIMIT_KEYS) == [spec.name for spec in NUMERIC_LIMITS]


LIMITS_KNOWN = f"one of {', '.join(LIMIT_KEYS)}, acknowledged_unlimited"
DEFAULT_KNOWN = (
    f"{LIMITS_KNOWN}, {', '.join(RATES)}, account, strategy, asset_class, symbol, strategy_symbol"
)
MONEY = "an amount of money above 0"
BPS = "a number of bps above 0 and below 10000"
MS = "a number of ms above 0"
ID = "1 to 64 characters of A-Z a-z 0-9 . _ : -, the first a letter or digit"


@pytest.mark.parametrize(
    ("added", "line", "fault"),
    [
        # Numbers.
        ("order_notional_max = -5", 1, f"limits.order_notional_max: got -5, allowed is {MONEY}"),
        ("order_notional_max = 0", 1, f"limits.order_notional_max: got 0, allowed is {MONEY}"),
        ("slippage_bps_max = 10000", 1, f"limits.slippage_bps_max: got 10000, allowed is {BPS}"),
        ("slippage_bps_max = -1", 1, f"limits.slippage_bps_max: got -1, allowed is {BPS}"),
        ("signal_age_ms_max = true", 1, f"limits.signal_age_ms_max: got true, allowed is {MS}"),
        ("quote_age_ms_max = {}", 1, f"limits.quote_age_ms_max: got {{}}, allowed is {MS}"),
        (
            "quote_age_ms_max = nan",
            1,
            f"limits.quote_age_ms_max: got nan, allowed is {MS} (a finite number)",
        ),
        (
            "quote_age_ms_max = -inf",
            1,
            f"limits.quote_age_ms_max: got -inf, allowed is {MS} (a finite number)",
        ),
        (
            'quote_age_ms_max = "soon"',
            1,
            (
                'limits.quote_age_ms_max: got "soon", '
                f'allowed is {MS} (a decimal string such as "150.25")'
            ),
        ),
        (
            "gross_exposure_max = 1e16",
            1,
            (
                f"limits.gross_exposure_max: got 1e16, allowed is {MONEY} "
                "(a number between -1000000000000000 and 1000000000000000)"
            ),
        ),
        (
            "gross_exposure_max = 0.0000000000001",
            1,
            (
                f"limits.gross_exposure_max: got 0.0000000000001, allowed is {MONEY} "
                "(a number with at most 12 decimals)"
            ),
        ),
        (
            "gross_exposure_max = 1e99999999",
            1,
            (
                f"limits.gross_exposure_max: got 1e99999999, allowed is {MONEY} "
                "(a number between -1000000000000000 and 1000000000000000)"
            ),
        ),
        (
            "gross_exposure_max = 1e99999999999999999999",
            1,
            (
                "limits.gross_exposure_max: got 1e99999999999999999999, "
                f"allowed is {MONEY} (a finite number)"
            ),
        ),
        # Names.
        (
            "slipage_bps_max = 5",
            1,
            (
                "limits.slipage_bps_max: got an unknown key (it is 5; did you mean "
                "slippage_bps_max?), "
                f"allowed is {DEFAULT_KNOWN}"
            ),
        ),
        (
            "[limits.symbl.AAPL]",
            1,
            (
                "limits.symbl: got an unknown key (it is [limits.symbl.AAPL]; did you "
                "mean symbol?), "
                f"allowed is {DEFAULT_KNOWN}"
            ),
        ),
        (
            "[limit]",
            1,
            (
                "limit: got an unknown key (it is [limit]; did you mean limits?), "
                "allowed is one of accounts, strategies, limits, raises"
            ),
        ),
        (
            '[limits.symbol.AAPL]\n"slippage_bps_max" = 0 # none',
            2,
            f"limits.symbol.AAPL.slippage_bps_max: got 0, allowed is {BPS}",
        ),
        (
            "symbol.AAPL.slippage_bps_max = 0",
            1,
            f"limits.symbol.AAPL.slippage_bps_max: got 0, allowed is {BPS}",
        ),
        (
            "symbol = { AAPL = { slippage_bps_max = 0 } }",
            1,
            f"limits.symbol.AAPL.slippage_bps_max: got 0, allowed is {BPS}",
        ),
        ("symbol = 5", 1, "limits.symbol: got 5, allowed is a table"),
        ("[[limits.symbol]]", 1, "limits.symbol: got [[limits.symbol]], allowed is a table"),
        ("symbol.AAPL = 5", 1, "limits.symbol.AAPL: got 5, allowed is a table"),
        (
            '[limits.strategy."bad id"]',
            1,
            f'limits.strategy."bad id": got [limits.strategy."bad id"], allowed is {ID}',
        ),
        (
            '[limits.strategy_symbol."AAPL"]',
            1,
            (
                'limits.strategy_symbol.AAPL: got [limits.strategy_symbol."AAPL"], allowed is a '
                'strategy and a symbol, as in "momentum-v1|AAPL"'
            ),
        ),
        (
            '[limits.strategy_symbol."|AAPL"]',
            1,
            (
                'limits.strategy_symbol."|AAPL": got [limits.strategy_symbol."|AAPL"], '
                f"allowed is {ID}"
            ),
        ),
        (
            "[limits.symbol.APPL]",
            1,
            (
                "limits.symbol.APPL: got [limits.symbol.APPL], allowed is an instrument of "
                "default_instruments.toml; did you mean AAPL?"
            ),
        ),
        (
            '[limits.strategy_symbol."m|APPL"]',
            1,
            (
                'limits.strategy_symbol."m|APPL": got '
                '[limits.strategy_symbol."m|APPL"], allowed is an '
                "instrument of default_instruments.toml; did you mean AAPL?"
            ),
        ),
        (
            "[limits.account.mian]",
            1,
            (
                "limits.account.mian: got [limits.account.mian], allowed is an "
                "account of this file: "
                "main; did you mean main?"
            ),
        ),
        (
            "[limits.asset_class.equities]",
            1,
            (
                "limits.asset_class.equities: got [limits.asset_class.equities], allowed is one "
                f"of {CLASSES}; did you mean equity?"
            ),
        ),
        # What may be 0, and what is a part of something.
        (
            "borrowing_max = -1",
            1,
            "limits.borrowing_max: got -1, allowed is an amount of money, 0 or more",
        ),
        (
            "confidence_min = 1.01",
            1,
            "limits.confidence_min: got 1.01, allowed is a number from 0 to 1",
        ),
        (
            "confidence_min = -0.01",
            1,
            "limits.confidence_min: got -0.01, allowed is a number from 0 to 1",
        ),
        (
            "leverage_max = 0",
            1,
            "limits.leverage_max: got 0, allowed is a multiple of equity above 0",
        ),
        # Waivers.
        (
            'acknowledged_unlimited = ["leverage"]',
            1,
            (
                'limits.acknowledged_unlimited: got ["leverage"], allowed is a list of names of '
                "limits (not leverage; did you mean leverage_max?)"
            ),
        ),
        (
            'acknowledged_unlimited = "leverage_max"',
            1,
            (
                'limits.acknowledged_unlimited: got "leverage_max", allowed is a list of names of '
                "limits"
            ),
        ),
        (
            'acknowledged_unlimited = ["leverage_max", "leverage_max"]',
            1,
            (
                'limits.acknowledged_unlimited: got ["leverage_max", "leverage_max"], allowed is '
                "a list of names of limits, each once (not leverage_max twice)"
            ),
        ),
        (
            'leverage_max = 1\nacknowledged_unlimited = ["leverage_max"]',
            2,
            (
                'limits.acknowledged_unlimited: got ["leverage_max"], allowed is limits that are '
                "not set beside it (not leverage_max)"
            ),
        ),
        (
            '[limits.symbol.AAPL]\nacknowledged_unlimited = ["account_signal_rate"]',
            2,
            (
                'limits.symbol.AAPL.acknowledged_unlimited: got ["account_signal_rate"], allowed '
                "is limits that this level may set (not account_signal_rate)"
            ),
        ),
        # Strategies.
        (
            '[strategies.m]\naccounts = ["mian"]',
            2,
            (
                'strategies.m.accounts: got ["mian"], allowed is accounts of this file: main; did '
                "you mean main?"
            ),
        ),
        (
            '[strategies.m]\nsymbols = ["APPL"]',
            2,
            (
                'strategies.m.symbols: got ["APPL"], allowed is instruments of '
                "default_instruments.toml; did you mean AAPL?"
            ),
        ),
        (
            '[strategies.m]\nasset_classes = ["equty"]',
            2,
            (
                f'strategies.m.asset_classes: got ["equty"], allowed is a list of {CLASSES} '
                "(not equty; did you mean equity?)"
            ),
        ),
        ('[strategies."a b"]', 1, f'strategies."a b": got [strategies."a b"], allowed is {ID}'),
        # Rates.
        (
            "strategy_signal_rate = { count = 0, per_ms = 1, burst = 0 }",
            1,
            "limits.strategy_signal_rate.count: got 0, allowed is a whole number from 1 to 1000000",
        ),
        (
            "strategy_signal_rate = { count = true, per_ms = 1, burst = 0 }",
            1,
            (
                "limits.strategy_signal_rate.count: got true, "
                "allowed is a whole number from 1 to 1000000"
            ),
        ),
        (
            "strategy_signal_rate = { count = 1, per_ms = 1.5, burst = 0 }",
            1,
            (
                "limits.strategy_signal_rate.per_ms: got 1.5, "
                "allowed is a whole number from 1 to 86400000"
            ),
        ),
        (
            "strategy_signal_rate = { count = 1, per_ms = 1 }",
            1,
            (
                "limits.strategy_signal_rate.burst: got nothing, "
                "allowed is a whole number from 0 to 1000000"
            ),
        ),
        (
            "[limits.strategy_signal_rate]\ncount = 1\nper_ms = 86400000\nburst = 52",
            4,
            (
                "limits.strategy_signal_rate.burst: got 52, "
                "allowed is a burst that this rate fills up again within 52 days"
            ),
        ),
        ("strategy_signal_rate = 30", 1, "limits.strategy_signal_rate: got 30, allowed is a table"),
        (
            "[limits.symbol.AAPL]\nstrategy_signal_rate = { count = 1, per_ms = 1, burst = 0 }",
            2,
            (
                "limits.symbol.AAPL.strategy_signal_rate: got an unknown key (it is "
                f"{{ count = 1, per_ms = 1, burst = 0 }}), allowed is {LIMITS_KNOWN}"
            ),
        ),
    ],
)
def test_a_fault_has_its_line_key_value_and_what_is_allowed(
    tmp_path: Path, added: str, line: int, fault: str
) -> None:
    header = "" if added.startswith("[") else "[limits]\n"
    at = FIRST_LINE + header.count("\n") + line - 1
    assert faults(tmp_path, f"{ACCOUNT}{header}{added}\n") == [f"limits.toml:{at}: {fault}"]


@pytest.mark.parametrize(
    ("was", "becomes", "fault"),
    [
        (
            'currency = "USD"',
            'currency = "USDT"',
            (
                '2: accounts.main.currency: got "USDT", allowed is a currency\'s three letters, '
                "for instance USD (ISO 4217); did you mean USD?"
            ),
        ),
        (
            'broker = "paper"',
            'broker = "papre"',
            '4: accounts.main.broker: got "papre", allowed is paper; did you mean paper?',
        ),
        (
            "opening_cash = 1000\n",
            "",
            (
                "1: accounts.main.opening_cash: got nothing, allowed is an "
                "amount of money, 0 or more"
            ),
        ),
        (
            "opening_cash = 1000",
            "opening_cash = -0.01",
            "3: accounts.main.opening_cash: got -0.01, allowed is an amount of money, 0 or more",
        ),
        (
            'broker = "paper"',
            'broker = "paper"\nbrokr = 1',
            (
                "5: accounts.main.brokr: got an unknown key (it is 1; did you mean broker?), "
                "allowed is one of currency, opening_cash, broker, calendar, "
                "on_daily_loss, on_drawdown, mark_band_bps, overfill_bps_max, routes"
            ),
        ),
        (
            "[accounts.main]",
            '[accounts."main account"]',
            '1: accounts."main account": got [accounts."main account"], allowed is ' + ID,
        ),
    ],
)
def test_a_fault_of_an_account(tmp_path: Path, was: str, becomes: str, fault: str) -> None:
    assert was in ACCOUNT
    assert faults(tmp_path, ACCOUNT.replace(was, becomes)) == [f"limits.toml:{fault}"]


def test_a_dot_without_quotes_is_explained(tmp_path: Path) -> None:
    told, also = faults(tmp_path, f"{ACCOUNT}[limits.symbol.BRK.B]\nslippage_bps_max = 5\n")
    assert 'a name with a dot is written in quotes: [limits.symbol."BRK.B"]' in told
    assert also.endswith("did you mean BRK.B?")


def test_without_an_account_nothing_can_be_traded(tmp_path: Path) -> None:
    told = "accounts: got nothing, allowed is at least one [accounts.ID] table"
    assert faults(tmp_path, "") == [f"limits.toml: {told}"]
    assert faults(tmp_path, "accounts = 1") == [
        "limits.toml:1: accounts: got 1, allowed is a table"
    ]


def test_every_fault_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
        [accounts.main]
        currency = "USD"
        opening_cash = -1
        broker = "paper"
        [limits.symbol.AAPL]
        slippage_bps_max = 0
        [limits]
        order_notional_max = 0
        bogus = '''
        two lines'''
        gross_exposure_max = [ 1,
          2 ]
        """
    lines = [each.split(":")[1] for each in faults(tmp_path, text)]
    assert lines == ["4", "7", "9", "10", "12"]


def test_eight_faults_and_more_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
[accounts.main]
currency = "USDX"
opening_cash = -5
broker = "papr"
[limits]
slipage_bps_max = 50
order_notional_max = -1
confidence_min = 2
daily_loss_max = "many"
strategy_signal_rate = { count = 0, per_ms = 1000, burst = 10 }
drawdown_max = nan
acknowledged_unlimited = ["leverage"]
[limits.account.other]
gross_exposure_max = 1
[raises.soon]
limit = "turnover_day_max"
level = "default"
value = 1
from = 2026-12-31T10:00:00Z
until = 2026-12-31T09:00:00Z
reason = "early"
operator = "ann"
"""
    told = faults(tmp_path, text)
    lines = {int(each.split(":")[1]) for each in told}
    assert lines >= {2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 20}, told
    assert all(", allowed is " in each for each in told)
    assert told == sorted(told, key=lambda each: int(each.split(":")[1]))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[limits\n", "1: got [limits, allowed is TOML: Expected ']' at the end of a table"),
        ("\nx = \n", "2: got x =, allowed is TOML: Invalid value"),
        ("[limits]\na = 1\na = 2\n", "3: got a = 2, allowed is TOML: Cannot overwrite a value"),
        (
            "[limits]\n[limits.symbol]\n[limits]\n",
            "3: got [limits], allowed is TOML: Cannot declare ('limits',) twice",
        ),
        ('x = "abc', "1: got the end of the file, allowed is TOML: Unterminated string"),
        ('\n\nx = """\nabc', "4: got the end of the file, allowed is TOML: Unterminated string"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    (told,) = faults(tmp_path, text)
    assert told.startswith(f"limits.toml:{fault}")


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000 + "]" * 5000], ids=["digits", "nested"])
def test_absurd_values_are_refused(tmp_path: Path, value: str) -> None:
    (told,) = faults(tmp_path, f"{ACCOUNT}[limits]\norder_notional_max = {value}\n")
    assert told.endswith("allowed is a file of tables and numbers")
    assert len(told) < 250


def test_a_file_of_a_windows_editor_is_read(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    text = f"\ufeff{ACCOUNT}[limits]\nslippage_bps_max = 5\n".replace("\n", "\r\n")
    file.write_bytes(text.encode())
    value = load_rulebook(file, None).limits.numbers[Level.DEFAULT, ""][SLIPPAGE.name].value
    assert value == 5
    file.write_bytes(text.replace("= 5", "= -5").encode())
    with pytest.raises(ConfigFaults, match=r"limits.toml:6: limits.slippage_bps_max: got -5"):
        load_rulebook(file, None)


def test_a_file_that_cannot_be_read_is_told_with_its_flag(tmp_path: Path) -> None:
    told = "allowed is a file that can be read, given with --limits or TRADE_ENGINE_LIMITS_FILE"
    with pytest.raises(ConfigFaults, match="No such file or directory") as caught:
        load_rulebook(tmp_path / "none.toml", None)
    assert caught.value.message == f"{tmp_path}/none.toml: got No such file or directory, {told}"
    with pytest.raises(ConfigFaults, match="Is a directory"):
        load_rulebook(tmp_path, None)
    latin = tmp_path / "latin.toml"
    latin.write_bytes("# Müller".encode("latin-1"))
    with pytest.raises(ConfigFaults, match="it is not UTF-8"):
        load_rulebook(latin, None)


@pytest.mark.parametrize(
    ("count", "per_ms", "burst"),
    [(1, 1, 0), (1, 86_400_000, 51), (1_000_000, 86_400_000, 1_000_000), (7, 4_492_800, 1)],
)
def test_every_rate_that_is_taken_fits_the_throttles(
    tmp_path: Path, count: int, per_ms: int, burst: int
) -> None:
    rate = f"{{ count = {count}, per_ms = {per_ms}, burst = {burst} }}"
    rulebook = load(tmp_path, f"{ACCOUNT}[limits]\nstrategy_signal_rate = {rate}\n")
    found = rulebook.limits.rates[Level.DEFAULT, ""][STRATEGY_RATE]
    interval_ns, tolerance_ns = emission_ns(found)
    assert interval_ns > 0
    assert tolerance_ns == interval_ns * (burst + 1)
    assert set(RATE_KEYS) == {"count", "per_ms", "burst"}
