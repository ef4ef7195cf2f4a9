"""Raises in a limits file: what they may say, every fault with its line, and what they become."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from trade_engine.config import ConfigFaults, load_rulebook
from trade_engine.config.raises import RAISE_DAYS_MAX, WORDS_MAX
from trade_engine.config.rulebook_writer import write_limits
from trade_engine.domain.limits import Level, Raise, Rate
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.rulebook_difference import differences

HEAD = """[accounts.main]
currency = "USD"
opening_cash = 1000
broker = "paper"
[accounts.second]
currency = "USD"
opening_cash = 1000
broker = "paper"
[limits]
order_notional_max = 1000
confidence_min = 0.5
acknowledged_unlimited = ["leverage_max"]
strategy_signal_rate = { count = 20, per_ms = 1000, burst = 40 }
[limits.account.second]
gross_exposure_max = 5000
acknowledged_unlimited = ["account_signal_rate"]
[limits.symbol.AAPL]
slippage_bps_max = 20
"""
FROM_NS = 1_798_727_400_000_000_000
UNTIL_NS = 1_798_750_800_000_001_000
GIVEN = {
    "limit": '"order_notional_max"',
    "level": '"default"',
    "value": "2000",
    "from": "2026-12-31T14:30:00Z",
    "until": "2026-12-31T22:00:00.000001+01:00",
    "reason": '"index rebalancing"',
    "operator": '"ann"',
}


def a_raise(name: str = "quarter-end", **given: str) -> str:
    values = GIVEN | {key.rstrip("_"): value for key, value in given.items()}
    lines = [f"{key} = {value}" for key, value in values.items() if value]
    return "\n".join([f"[raises.{name}]", *lines, ""])


def load(folder: Path, text: str) -> Rulebook:
    file = folder / "limits.toml"
    file.write_text(text, encoding="utf-8")
    return load_rulebook(file, None)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load(folder, text)
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


def test_a_raise_is_read_exactly(tmp_path: Path) -> None:
    assert load(tmp_path, HEAD + a_raise()).limits.raises == (
        Raise(
            name="quarter-end",
            limit_name="order_notional_max",
            level=Level.DEFAULT,
            scope_id="",
            value=Decimal(2000),
            from_ns=FROM_NS,
            until_ns=UNTIL_NS,
            reason="index rebalancing",
            operator="ann",
        ),
    )


RATE = {"limit": '"strategy_signal_rate"', "value": "{ count = 50, per_ms = 1000, burst = 99 }"}


def test_a_raise_of_a_rate_is_read_as_its_level_writes_rates(tmp_path: Path) -> None:
    plain, raised = load(tmp_path, HEAD), load(tmp_path, HEAD + a_raise("fast", **RATE))

    [found] = raised.limits.raises
    assert found.value == Rate(50, 1_000_000_000, 99, "")
    assert Rulebook.from_json(raised.to_json()) == raised
    again = load(tmp_path, write_limits(raised))
    assert (again.version, again.limits.raises) == (raised.version, raised.limits.raises)
    [told] = differences(plain, raised)
    assert told.after.startswith("limits.strategy_signal_rate is 50 per 1000 ms, burst 99 from ")


def test_a_raise_is_part_of_the_version_and_survives_journal_and_file(tmp_path: Path) -> None:
    of_symbol = a_raise("b", limit='"slippage_bps_max"', level='"symbol"', id='"AAPL"', value="30")
    of_account = a_raise(
        "c", limit='"gross_exposure_max"', level='"account"', id='"second"', value="9000"
    )
    plain = load(tmp_path, HEAD)
    raised = load(tmp_path, HEAD + a_raise() + of_symbol + of_account)
    assert raised.version != plain.version
    assert Rulebook.from_json(raised.to_json()) == raised
    assert "raises" not in plain.to_json(), "files without raises keep the version that they had"

    again = load(tmp_path, write_limits(raised))
    assert (again.version, again.limits.raises) == (raised.version, raised.limits.raises)
    of_main = load(tmp_path, write_limits(raised, "main"))
    assert [each.name for each in of_main.limits.raises] == ["b", "quarter-end"]

    told = {each.path: each.after for each in differences(plain, raised)}
    assert told["raises.b"] == (
        "limits.symbol.AAPL.slippage_bps_max is 30 from 2026-12-31T14:30:00Z until "
        "2026-12-31T21:00:00.000001Z (ann: index rebalancing)"
    )


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"limit": '"order_notional"'}, "limit", "did you mean order_notional_max?"),
        ({"limit": '"strategy_signal_rate"'}, "value", "a table"),
        (RATE | {"value": "{ count = 0, per_ms = 1000, burst = 40 }"}, "value.count", "from 1 to"),
        (RATE | {"value": "{ count = 50, per_ms = 1000 }"}, "value.burst", "a whole number"),
        (
            RATE | {"value": "{ count = 20, per_ms = 1000, burst = 40 }"},
            "value",
            "looser than what [limits] sets, 20 per 1000 ms, burst 40: a raise only loosens",
        ),
        (RATE | {"value": "{ count = 50, per_ms = 1000, burst = 39 }"}, "value", "only loosens"),
        (RATE | {"value": "{ count = 19, per_ms = 1000, burst = 50 }"}, "value", "only loosens"),
        (
            RATE | {"level": '"account"', "id": '"second"', "limit": '"account_signal_rate"'},
            "limit",
            "not a waived one",
        ),
        ({"value": "{ count = 50, per_ms = 1000, burst = 99 }"}, "value", "an amount of money"),
        ({"limit": '"leverage_max"'}, "limit", "not a waived one"),
        ({"limit": '"turnover_day_max"'}, "limit", "a limit that [limits] sets"),
        ({"level": '"sector"'}, "level", "one of default, account, strategy"),
        (
            {"limit": '"slippage_bps_max"', "level": '"symbol"', "id": '"APPL"', "value": "30"},
            "limit",
            "a limit that [limits.symbol.APPL] sets; did you mean AAPL?",
        ),
        ({"value": "1000"}, "value", "looser than what [limits] sets, 1000"),
        ({"value": '"much"'}, "value", "a number"),
        (
            {"limit": '"confidence_min"', "value": "0.6"},
            "value",
            "looser than what [limits] sets, 0.5: a raise only loosens",
        ),
        (
            {
                "limit": '"slippage_bps_max"',
                "level": '"symbol"',
                "id": '"AAPL"',
                "value": "10000",
            },
            "value",
            "a number of bps above 0 and below 10000",
        ),
        ({"from_": "2026-12-31T14:30:00"}, "from", "a time with its offset from UTC"),
        ({"from_": '"today"'}, "from", "a time with its offset from UTC"),
        ({"from_": "1969-12-31T23:59:59Z"}, "from", "a time with its offset from UTC"),
        ({"until": "2026-12-31T14:30:00Z"}, "until", f"by at most {RAISE_DAYS_MAX} days"),
        ({"until": "2062-12-31T21:00:00Z"}, "until", f"by at most {RAISE_DAYS_MAX} days"),
        ({"reason": '" "'}, "reason", f"1 to {WORDS_MAX} printable characters"),
        ({"reason": ""}, "reason", "got nothing"),
        ({"operator": f'"{"a" * (WORDS_MAX + 1)}"'}, "operator", f"1 to {WORDS_MAX}"),
        ({"untill": "2026-12-31T21:00:00Z"}, "untill", "did you mean until?"),
    ],
)
def test_a_raise_that_cannot_be(
    tmp_path: Path, changes: dict[str, str], key: str, words: str
) -> None:
    text = HEAD + a_raise(**changes)
    [fault] = faults(tmp_path, text)
    lines = text.splitlines()
    written = [
        number
        for number, line in enumerate(lines, 1)
        if line.startswith(f"{key.split('.', maxsplit=1)[0]} = ")
    ]
    line = written[-1] if written else lines.index("[raises.quarter-end]") + 1
    assert fault.startswith(f"limits.toml:{line}: raises.quarter-end.{key}: "), fault
    assert words in fault


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    text = (
        HEAD
        + a_raise('"a b"')
        + a_raise("tighter", value="1")
        + a_raise("nowhere", limit='"turnover_day_max"', until="2026-12-30T00:00:00Z")
        + a_raise("empty", limit="", level="", value="", from_="", until="", reason="", operator="")
    )
    keys = [fault.split(": ")[1] for fault in faults(tmp_path, text)]
    assert keys == [
        'raises."a b"',
        "raises.tighter.value",
        "raises.nowhere.limit",
        "raises.nowhere.until",
        *(f"raises.empty.{key}" for key in GIVEN),
    ]


def test_of_one_limit_there_is_one_raise_at_a_time(tmp_path: Path) -> None:
    after = a_raise("after", from_=GIVEN["until"], until="2027-01-02T00:00:00Z", value="3000")
    assert len(load(tmp_path, HEAD + after + a_raise()).limits.raises) == 2

    early = "2026-12-31T22:00:00.000000+01:00"
    within = a_raise("within", from_=early, until="2027-01-02T00:00:00Z")
    [fault] = faults(tmp_path, HEAD + within + a_raise())
    assert "raises.within.from: got 2026-12-31T22:00:00.000000+01:00" in fault
    assert "(quarter-end does until 2026-12-31T21:00:00.000001Z)" in fault
