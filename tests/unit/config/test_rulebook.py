"""Both files make one rulebook, whose version is its content's and nothing else's."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from trade_engine.config import load_rulebook, unset_cancel_rates, unset_limits
from trade_engine.config.rulebook import DEFAULT_INSTRUMENTS, DEFAULT_LIMITS
from trade_engine.domain.decision import Outcome
from trade_engine.domain.limits import (
    ACCOUNT_RATE,
    CANCEL_RATE,
    LIMIT_NAMES,
    NUMERIC_LIMITS,
    RATES,
    STRATEGY_RATE,
    Level,
    Limit,
)
from trade_engine.domain.market import Instrument, Quote
from trade_engine.domain.money import ZERO
from trade_engine.domain.order import DeliveryState
from trade_engine.domain.rulebook import Rulebook, StrategyTerms
from trade_engine.domain.signal import Side, Signal, TimeHorizon
from trade_engine.risk.pre_trade import decide
from trade_engine.risk.throttles import gcra
from trade_engine.risk.view import Inputs, Throttle, View

PACKAGED = Path(__file__).resolve().parents[3] / "trade_engine" / "config"


def write(folder: Path, limits: str) -> Path:
    file = folder / "limits.toml"
    account = '[accounts.main]\ncurrency = "USD"\nopening_cash = 1\nbroker = "paper"\n'
    file.write_text(account + limits)
    return file


def test_the_version_is_the_hash_of_the_content() -> None:
    rulebook = load_rulebook(None, None)
    assert rulebook.to_json()["version"] == rulebook.version == rulebook.limits.version
    canonical = orjson.dumps(rulebook.content(), option=orjson.OPT_SORT_KEYS)
    assert rulebook.version == hashlib.sha256(canonical).hexdigest()[:16]
    assert re.fullmatch("[0-9a-f]{16}", rulebook.version)


def test_the_version_follows_the_content_and_not_the_way_it_is_written(tmp_path: Path) -> None:
    def version(limits: str) -> str:
        return load_rulebook(write(tmp_path, limits), None).version

    first = version("[limits]\nslippage_bps_max = 50\ngross_exposure_max = 100\n")
    same = version("[limits] # again\ngross_exposure_max = 1e2\nslippage_bps_max = '50.0'\n")
    other = version("[limits]\nslippage_bps_max = 51\ngross_exposure_max = 100\n")
    assert first == same != other


def test_the_version_is_the_same_whatever_the_files_are_called(tmp_path: Path) -> None:
    limits = tmp_path / "other.toml"
    limits.write_text((PACKAGED / DEFAULT_LIMITS).read_text())
    renamed, packaged = load_rulebook(limits, None), load_rulebook(None, None)
    assert renamed.version == packaged.version
    assert renamed.to_json() != packaged.to_json(), "decisions name the file all the same"


def test_the_rulebook_comes_back_from_the_journal() -> None:
    rulebook = load_rulebook(None, None)
    assert Rulebook.from_json(orjson.loads(orjson.dumps(rulebook.to_json()))) == rulebook


def test_the_default_files_are_usable_as_files_of_ones_own() -> None:
    copied = load_rulebook(PACKAGED / DEFAULT_LIMITS, PACKAGED / DEFAULT_INSTRUMENTS)
    assert copied == load_rulebook(None, None)


def test_the_example_of_the_default_limits_can_be_switched_on(tmp_path: Path) -> None:
    text = (PACKAGED / DEFAULT_LIMITS).read_text()
    head, example = text.split("# Tighter for one account")
    lines = example.split("\n")[2:]
    file = tmp_path / "limits.toml"
    file.write_text(head + "\n".join(line.removeprefix("#").strip() for line in lines))
    levels = {level for level, _ in load_rulebook(file, None).limits.numbers}
    assert levels == set(Level)


def test_every_limit_is_set_by_default() -> None:
    rulebook = load_rulebook(None, None)
    assert unset_limits(rulebook) == []
    assert set(rulebook.limits.in_force(0, "default", "any", "AAPL")) == {
        spec.name for spec in NUMERIC_LIMITS
    }
    assert set(rulebook.accounts) == {"default"}


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "MSFT", "GOOG", "FB"])
def test_the_stocks_of_the_demonstration_are_there(symbol: str) -> None:
    found = load_rulebook(None, None).instruments[symbol]
    assert found == Instrument(symbol, Decimal("0.01"), Decimal(1), "USD", "equity")


def test_the_default_limits_let_an_ordinary_signal_pass() -> None:
    rulebook, now_ns = load_rulebook(None, None), 1_700_000_000_000_000_000
    signal = Signal(
        signal_id="s-1",
        account_id="default",
        strategy_id="momentum-v1",
        symbol="AAPL",
        side=Side.BUY,
        confidence=Decimal("0.82"),
        target_exposure=Decimal(15000),
        time_horizon=TimeHorizon.INTRADAY,
        max_slippage_bps=Decimal(10),
        max_notional=Decimal(20000),
        created_at_ns=now_ns - 1_000_000_000,
    )
    bid, ask = Decimal("149.99"), Decimal("150.01")
    quote = Quote("AAPL", bid, ask, None, None, None, now_ns - 2_000_000_000, "test")
    rate = rulebook.limits.rate(0, "default", "momentum-v1")
    assert rate is not None
    verdict, _ = gcra(None, now_ns, rate)
    decision = decide(
        Inputs(
            signal=signal,
            instrument=rulebook.instruments["AAPL"],
            quote=quote,
            view=View(1, None, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, equity=None),
            limits=rulebook.limits.in_force(0, "default", "momentum-v1", "AAPL"),
            limits_version=rulebook.version,
            throttle=Throttle(rate, verdict.allowed, verdict.remaining, verdict.retry_after_ns),
            now_ns=now_ns,
            currency="USD",
            broker="paper",
            delivery=DeliveryState.QUEUED,
        )
    )
    assert decision.outcome is Outcome.APPROVED, decision.message


ALL_BUT_ONE = "\n".join(f"{spec.name} = 1" for spec in NUMERIC_LIMITS[1:])
ONCE = "{ count = 1, per_ms = 1, burst = 1 }"
RATE = "\n".join(f"{name} = {ONCE}" for name in RATES)
ONE = NUMERIC_LIMITS[0].name


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (f"[limits]\n{ALL_BUT_ONE}\n{ONE} = 1\n{RATE}", []),
        (f"[limits]\n{ALL_BUT_ONE}\n{RATE}\n[limits.account.main]\n{ONE} = 1", []),
        (f"[limits]\n{ALL_BUT_ONE}\n{RATE}", [f"{ONE} for account main"]),
        (
            (
                f"[limits]\n{ALL_BUT_ONE}\n{RATE}\n[limits.symbol.AAPL]\n{ONE} = 1\n"
                f"[limits.strategy.m]\n{ONE} = 1"
            ),
            [f"{ONE} for account main (only strategy m, symbol AAPL has it)"],
        ),
        (
            (
                f"[limits]\n{ALL_BUT_ONE}\n{ONE} = 1\n{ACCOUNT_RATE} = {ONCE}\n"
                f"{CANCEL_RATE} = {ONCE}\n[limits.strategy.m]\n{STRATEGY_RATE} = {ONCE}"
            ),
            [f"{STRATEGY_RATE} for account main (only strategy m has it)"],
        ),
        (
            "",
            [f"{name} for account main" for name in LIMIT_NAMES if name != CANCEL_RATE],
        ),
        (f"[limits]\nacknowledged_unlimited = {list(LIMIT_NAMES)}", []),
    ],
)
def test_unset_limits_are_told(tmp_path: Path, limits: str, told: list[str]) -> None:
    assert unset_limits(load_rulebook(write(tmp_path, limits), None)) == told


def test_an_unset_rate_of_cancels_refuses_nothing_and_is_told_apart(tmp_path: Path) -> None:
    but_cancels = "\n".join(f"{name} = {ONCE}" for name in RATES if name != CANCEL_RATE)
    named = f"[limits]\n{ALL_BUT_ONE}\n{ONE} = 1\n{but_cancels}"
    rulebook = load_rulebook(write(tmp_path, named), None)
    assert unset_limits(rulebook) == []
    assert unset_cancel_rates(rulebook) == [f"{CANCEL_RATE} for account main"]
    waived = f"{named}\nacknowledged_unlimited = ['{CANCEL_RATE}']"
    for told in (f"{named}\n{CANCEL_RATE} = {ONCE}", waived):
        assert unset_cancel_rates(load_rulebook(write(tmp_path, told), None)) == []


def test_a_limit_set_for_every_symbol_is_set(tmp_path: Path) -> None:
    instruments = tmp_path / "instruments.toml"
    row = '[instruments.{0}]\ntick = 1\nlot = 1\ncurrency = "USD"\nasset_class = "fx"\n'
    instruments.write_text(row.format("A") + row.format("B"))
    limits = f"[limits]\n{ALL_BUT_ONE}\n{RATE}\n[limits.symbol.A]\n{ONE} = 1\n"
    assert len(unset_limits(load_rulebook(write(tmp_path, limits), instruments))) == 1
    for rest in ("symbol.B", "asset_class.fx"):
        both = write(tmp_path, f"{limits}[limits.{rest}]\n{ONE} = 1\n")
        assert unset_limits(load_rulebook(both, instruments)) == []


def test_strategies_and_waivers_come_back_from_the_journal(tmp_path: Path) -> None:
    limits = """
        [strategies.m]
        accounts = ["main"]
        symbols = ["AAPL", "IBM"]
        [strategies.any]
        [limits]
        acknowledged_unlimited = ["confidence_min", "leverage_max", "account_signal_rate"]
        """
    rulebook = load_rulebook(write(tmp_path, limits), None)
    assert rulebook.strategies == {
        "m": StrategyTerms("m", ("main",), ("AAPL", "IBM")),
        "any": StrategyTerms("any"),
    }
    found = rulebook.limits.in_force(0, "main", "m", "AAPL")
    source = "limits.toml:default acknowledged_unlimited"
    assert found == {
        "confidence_min": Limit(Decimal("-Infinity"), source),
        "leverage_max": Limit(Decimal("Infinity"), source),
    }
    assert [limit.number for limit in found.values()] == [None, None]
    rate = rulebook.limits.rate(0, "main", "m", ACCOUNT_RATE)
    assert rate is not None
    assert (rate.is_waived, rate.source) == (True, source)
    assert Rulebook.from_json(orjson.loads(orjson.dumps(rulebook.to_json()))) == rulebook


def test_a_journal_from_before_there_were_more_rates_is_read() -> None:
    rulebook = load_rulebook(None, None)
    doc = rulebook.to_json()
    doc["rates"] = [each for each in doc["rates"] if each.pop("name") == STRATEGY_RATE]
    read = Rulebook.from_json(doc)
    assert read.limits.rate(0, "default", "m") == rulebook.limits.rate(0, "default", "m")
    assert read.limits.rate(0, "default", "m", ACCOUNT_RATE) is None


def test_a_level_only_tightens(tmp_path: Path) -> None:
    limits = "[limits]\nslippage_bps_max = 50\n[limits.symbol.AAPL]\nslippage_bps_max = {}\n"
    for value, holds in ((20, "20"), (80, "50")):
        rulebook = load_rulebook(write(tmp_path, limits.format(value)), None)
        found = rulebook.limits.in_force(0, "main", "m", "AAPL")["slippage_bps_max"]
        assert found.value == Decimal(holds)
