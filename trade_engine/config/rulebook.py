"""Two files make the rulebook: limits with accounts, and instruments."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from trade_engine.config.faults import ConfigFaults, Fault, did_you_mean
from trade_engine.config.instruments import read_instruments
from trade_engine.config.limits import LimitsFile, read_limits
from trade_engine.config.toml_file import TomlFile, open_toml
from trade_engine.domain.limits import LIMIT_NAMES, RATES, Level, LevelKey, Limits
from trade_engine.domain.market import Instrument
from trade_engine.domain.rulebook import Rulebook

DEFAULT_LIMITS = "default_limits.toml"
DEFAULT_INSTRUMENTS = "default_instruments.toml"
VERSION_LENGTH = 16
PAPER = "paper"
"""The broker that is always there."""


def load_rulebook(
    limits_file: Path | None, instruments_file: Path | None, sessions: Collection[str] = ()
) -> Rulebook:
    """Read both files; None takes the default that comes with the engine.

    sessions are the brokers that there are beside the paper one.

    The version is a hash of the content, so the same files have the same version on any machine.

    Raises:
        ConfigFaults: a file cannot be read or used; every fault of both is listed.
    """
    faults: list[Fault] = []
    limits_toml = _open(limits_file, DEFAULT_LIMITS, "limits", faults)
    instruments_toml = _open(instruments_file, DEFAULT_INSTRUMENTS, "instruments", faults)
    limits = read_limits(limits_toml) if limits_toml else LimitsFile()
    instruments = read_instruments(instruments_toml) if instruments_toml else {}
    if limits_toml:
        _check_brokers(limits_toml, limits, (PAPER, *sessions))
    if limits_toml and instruments_toml:
        _check_symbols(limits_toml, limits, instruments_toml)
        _check_currencies(limits, instruments_toml, instruments)
    for file in (limits_toml, instruments_toml):
        faults += sorted(file.faults, key=lambda fault: fault.line) if file else ()
    if faults:
        raise ConfigFaults(faults)
    return _versioned(limits, instruments)


def unset_limits(rulebook: Rulebook) -> list[str]:
    """The limits that do not reach every signal, a phrase each; where unset, they refuse.

    For instance `order_notional_max for account main (only symbol AAPL has it)`.
    """
    found: list[str] = []
    limits = rulebook.limits
    for name in LIMIT_NAMES:
        of_kind: dict[LevelKey, Any] = {**(limits.rates if name in RATES else limits.numbers)}
        levels = [key for key, named in of_kind.items() if name in named]
        some = ", ".join(f"{level} {scope_id}" for level, scope_id in levels)
        found += [
            f"{name} for account {account_id}" + (f" (only {some} has it)" if some else "")
            for account_id in rulebook.accounts
            if not _reaches_all(levels, account_id, rulebook)
        ]
    return found


def _reaches_all(levels: list[LevelKey], account_id: str, rulebook: Rulebook) -> bool:
    if (Level.DEFAULT, "") in levels or (Level.ACCOUNT, account_id) in levels:
        return True
    return all(
        (Level.SYMBOL, symbol) in levels or (Level.ASSET_CLASS, instrument.asset_class) in levels
        for symbol, instrument in rulebook.instruments.items()
    )


def _open(given: Path | None, default: str, kind: str, faults: list[Fault]) -> TomlFile | None:
    """Open a file, or the one that comes with the engine; see `open_toml`."""
    if given is not None:
        return open_toml(given, kind, faults)
    text = (files("trade_engine.config") / default).read_text(encoding="utf-8")
    return TomlFile(default, text)


def _check_brokers(file: TomlFile, limits: LimitsFile, known: Collection[str]) -> None:
    for account_id, terms in limits.accounts.items():
        if terms.broker not in known:
            hint = did_you_mean(terms.broker, known)
            file.fault(("accounts", account_id, "broker"), f"{' or '.join(known)}{hint}")


def _check_symbols(limits: TomlFile, found: LimitsFile, instruments: TomlFile) -> None:
    """What is said of a symbol that is no instrument says nothing: it was meant for another one."""
    known = instruments.names(("instruments",))
    for level in (Level.SYMBOL, Level.STRATEGY_SYMBOL):
        for scope_id in limits.names(("limits", level.value)):
            symbol = scope_id.rpartition("|")[2]
            if symbol not in known:
                allowed = f"an instrument of {instruments.name}{did_you_mean(symbol, known)}"
                limits.fault(("limits", level.value, scope_id), allowed)
    for strategy_id, terms in found.strategies.items():
        for symbol in terms.symbols:
            if symbol not in known:
                allowed = f"instruments of {instruments.name}{did_you_mean(symbol, known)}"
                limits.fault(("strategies", strategy_id, "symbols"), allowed)


def _check_currencies(
    limits: LimitsFile, file: TomlFile, instruments: dict[str, Instrument]
) -> None:
    """Exposures are added up without an exchange rate, so one currency has to do for all."""
    currencies = sorted({terms.currency for terms in limits.accounts.values()})
    for symbol, instrument in instruments.items():
        if currencies and [instrument.currency] != currencies:
            allowed = (
                f"the currency of every account ({', '.join(currencies)}): nothing is converted"
            )
            file.fault(("instruments", symbol, "currency"), allowed)


def _versioned(limits: LimitsFile, instruments: dict[str, Instrument]) -> Rulebook:
    unnamed = _rulebook("", limits, instruments)
    content = unnamed.to_json()
    del content["version"]
    canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    version = hashlib.sha256(canonical).hexdigest()[:VERSION_LENGTH]
    return _rulebook(version, limits, instruments)


def _rulebook(version: str, found: LimitsFile, instruments: dict[str, Instrument]) -> Rulebook:
    return Rulebook(
        version=version,
        limits=Limits(version, found.numbers, found.rates),
        instruments=instruments,
        accounts=found.accounts,
        strategies=found.strategies,
    )
