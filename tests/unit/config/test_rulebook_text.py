"""A rulebook written as files is read again as the same rulebook."""

from __future__ import annotations

from pathlib import Path

import pytest

from trade_engine.config import ConfigFaults, load_rulebook
from trade_engine.config.rulebook_text import TomlRulebooks
from trade_engine.domain.errors import InvalidFields
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.rulebook import Rulebook

TEXT = TomlRulebooks()

EVERYTHING = r"""
[accounts.main]
currency = "USD"
opening_cash = 1000000.50
broker = "paper"
calendar = "XNYS"
on_daily_loss = "HALTED"

[accounts.other]
currency = "USD"
opening_cash = "7"
broker = "paper"

[strategies."momentum-v1"]
accounts = ["main"]
symbols = ["AAPL", "XYZ.B"]
asset_classes = ["equity"]

[strategies.anywhere]

[limits]
acknowledged_unlimited = ["turnover_day_max", "account_cancel_rate", "duplicate_interval_ms_min"]
signal_age_ms_max = 5000
confidence_min = 0.25
order_notional_max = 50000
strategy_signal_rate = { count = 30, per_ms = 1500, burst = 60 }

[limits.account.other]
gross_exposure_max = 0.000000000001
account_signal_rate = { count = 1, per_ms = 1, burst = 0 }

[limits.asset_class.crypto]
asset_class_exposure_max = 123456789012345.123456789012

[limits.symbol."XYZ.B"]
slippage_bps_max = 0.5

[limits.strategy_symbol."momentum-v1|XYZ.B"]
symbol_position_notional_max = 20000
"""

INSTRUMENTS = r"""
[instruments.AAPL]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
calendar = "XNYS"
shortable = false

[instruments."XYZ.B"]
tick = "0.01"
lot = 0.001
currency = "USD"
asset_class = "equity"
restricted = true

[instruments.ESZ6]
tick = 0.25
lot = 1
currency = "USD"
asset_class = "future"
multiplier = 50
underlying = "ES"
"""


def read(limits: str, instruments: str = "", base: Rulebook | None = None) -> Rulebook:
    given = FileText("i.toml", instruments) if instruments else None
    return TEXT.read(FileText("l.toml", limits), given, base or load_rulebook(None, None))


def written(rulebook: Rulebook) -> Rulebook:
    return read(TEXT.limits_of(rulebook, ""), TEXT.instruments_of(rulebook))


def test_everything_that_a_file_can_say_comes_back() -> None:
    first = read(EVERYTHING, INSTRUMENTS)
    assert written(first).content() == first.content()
    assert written(first).version == first.version


def test_the_files_that_come_with_the_engine_come_back() -> None:
    assert written(load_rulebook(None, None)).version == load_rulebook(None, None).version


def test_for_one_account_the_others_are_left_out() -> None:
    found = read(TEXT.limits_of(read(EVERYTHING, INSTRUMENTS), "other"), INSTRUMENTS)
    assert list(found.accounts) == ["other"]
    assert list(found.strategies) == ["anywhere"], "momentum-v1 may not trade there"
    assert "account.other" in {f"{level}.{scope}" for level, scope in found.limits.numbers}


def test_instruments_that_are_not_given_stay() -> None:
    base = read(EVERYTHING, INSTRUMENTS)
    assert read(EVERYTHING.replace("5000", "6000"), base=base).instruments == base.instruments


def test_a_symbol_that_is_no_instrument_in_force_is_a_fault() -> None:
    with pytest.raises(InvalidFields) as caught:
        read(EVERYTHING)
    faults = {each.field: each.allowed for each in caught.value.faults}
    line = EVERYTHING.splitlines().index('[limits.symbol."XYZ.B"]') + 1
    assert "the instruments in force" in faults[f'l.toml:{line}:limits.symbol."XYZ.B"']


def test_a_file_with_eight_faults_names_all_of_them_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(
        """[accounts.main]
currency = "USD"
opening_cash = -5

[limits]
slipage_bps_max = 50
gross_exposure_max = nan
strategy_signal_rate = { count = 0, per_ms = 1000, burst = 60 }

[limits.account.mian]
order_notional_max = 10

[limits.symbol.APPL]
order_notional_max = "plenty"
"""
    )
    with pytest.raises(ConfigFaults) as caught:
        load_rulebook(file, None)
    assert [(each.line, each.key) for each in caught.value.faults] == [
        (1, "accounts.main.broker"),
        (3, "accounts.main.opening_cash"),
        (6, "limits.slipage_bps_max"),
        (7, "limits.gross_exposure_max"),
        (8, "limits.strategy_signal_rate.count"),
        (10, "limits.account.mian"),
        (13, "limits.symbol.APPL"),
        (14, "limits.symbol.APPL.order_notional_max"),
    ]
