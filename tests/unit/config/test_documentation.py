"""docs/configuration.md says what the code does: its tables, its examples and their outcomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from trade_engine.config import ConfigFaults, described, load_rulebook
from trade_engine.config.brokers import FIX_KEYS, load_brokers
from trade_engine.config.instruments import FX_KEYS, INSTRUMENT_KEYS
from trade_engine.config.limits import (
    ACCOUNT_KEYS,
    LIMIT_KEYS,
    STRATEGY_KEYS,
    WAIVER,
    WAIVER_KEY,
)
from trade_engine.config.raises import RAISE_KEYS
from trade_engine.config.rates import RATE_KEYS
from trade_engine.config.toml_file import Key
from trade_engine.domain.limits import RATES, Level

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "configuration.md").read_text()

BROKERS = (Path(__file__).resolve().parents[3] / "docs" / "brokers.md").read_text()


def table(*rows: Iterable[str]) -> str:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, re.sub(r"[^|]+", "---", head), *body])


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def settings_table() -> str:
    return table(
        ("variable", "flag", "default", "allowed", "meaning"),
        *(
            (
                " or ".join(map(code, each.variables)),
                code(each.flag),
                code(each.default),
                each.allowed,
                each.meaning,
            )
            for each in described()
        ),
    )


def keys_table(keys: Mapping[str, Key]) -> str:
    return table(
        ("key", "needed", "allowed", "meaning"),
        *(
            (code(name), "yes" if key.required else "", key.kind.allowed, key.meaning)
            for name, key in keys.items()
        ),
    )


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "wanted",
    [
        settings_table(),
        keys_table(ACCOUNT_KEYS),
        keys_table(STRATEGY_KEYS),
        keys_table(LIMIT_KEYS),
        keys_table({WAIVER: WAIVER_KEY}),
        keys_table(RATE_KEYS),
        keys_table(RAISE_KEYS),
        keys_table(INSTRUMENT_KEYS),
        keys_table(FX_KEYS),
    ],
    ids=[
        "settings",
        "accounts",
        "strategies",
        "limits",
        "waiver",
        "rates",
        "raises",
        "instruments",
        "fx",
    ],
)
def test_the_table_is_what_the_code_has(wanted: str) -> None:
    assert wanted in DOCUMENT, f"docs/configuration.md lacks this table:\n{wanted}"


def test_the_brokers_file_is_what_the_code_has(tmp_path: Path) -> None:
    assert keys_table(FIX_KEYS) in BROKERS, f"docs/brokers.md lacks:\n{keys_table(FIX_KEYS)}"
    [example] = [
        each for each in re.findall(r"```toml\n(.*?)```", BROKERS, re.DOTALL) if "[fix" in each
    ]
    secret = tmp_path / "password"
    secret.write_text("not-in-any-log\n")
    (tmp_path / "brokers.toml").write_text(
        example.replace("/etc/trade-engine/prime.password", str(secret))
    )
    sessions = load_brokers(tmp_path / "brokers.toml", tmp_path)
    assert sessions["prime"]["password"] == "not-in-any-log"


@pytest.mark.parametrize("level", Level)
def test_every_level_is_explained(level: Level) -> None:
    name = "limits" if level is Level.DEFAULT else f"limits.{level}."
    assert f"`[{name}" in DOCUMENT


@pytest.mark.parametrize("name", RATES)
def test_the_throttles_are_explained(name: str) -> None:
    assert f"`{name}`" in DOCUMENT


def test_the_examples_are_usable_and_the_broken_one_says_what_is_written(tmp_path: Path) -> None:
    limits, routes, raises, broken, instruments = fenced("toml")
    (tmp_path / "limits.toml").write_text(routes)
    main = load_rulebook(tmp_path / "limits.toml", None, ("coins", "prime")).accounts["main"]
    assert main.brokers == ("paper", "prime", "coins")
    (tmp_path / "limits.toml").write_text(limits + raises)
    (tmp_path / "instruments.toml").write_text(instruments)
    rulebook = load_rulebook(tmp_path / "limits.toml", None)
    assert {level for level, _ in rulebook.limits.numbers} == set(Level)
    assert [each.name for each in rulebook.limits.raises] == ["earnings"]
    load_rulebook(None, tmp_path / "instruments.toml")
    (tmp_path / "limits.toml").write_text(broken)
    with pytest.raises(ConfigFaults) as caught:
        load_rulebook(tmp_path / "limits.toml", None)
    told = caught.value.message.replace(f"{tmp_path}/", "") + "\n"
    assert told in fenced("text"), told
