"""Two files make the rulebook: limits with accounts, and instruments."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from trade_engine.config.faults import ConfigFaults, Fault, did_you_mean
from trade_engine.config.instruments import read_fx, read_instruments
from trade_engine.config.limits import LimitsFile, read_limits
from trade_engine.config.toml_file import TomlFile, file_text, parsed_toml
from trade_engine.config.toml_places import KeyPath
from trade_engine.domain.fx import FxPair
from trade_engine.domain.limits import CANCEL_RATE, LIMIT_NAMES, RATES, Level, LevelKey, Limits
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.market import Instrument
from trade_engine.domain.rulebook import Rulebook

DEFAULT_LIMITS = "default_limits.toml"
DEFAULT_INSTRUMENTS = "default_instruments.toml"
VERSION_LENGTH = 16
PAPER = "paper"
"""The broker that is always there."""

Fx = dict[tuple[str, str], FxPair]
"""What converts money, by (from, to)."""


def load_rulebook(
    limits_file: Path | None, instruments_file: Path | None, sessions: Collection[str] = ()
) -> Rulebook:
    """Read both files; None takes the default that comes with the engine.

    sessions are the brokers that there are beside the paper one.

    The version is a hash of the content, so files that say the same have the same version on any
    machine, whatever they are called.

    Raises:
        ConfigFaults: a file cannot be read or used; every fault of both is listed.
    """
    limits, instruments, unreadable = _texts(limits_file, instruments_file)
    return read_rulebook(limits, instruments, unreadable, sessions)


def rulebook_texts(
    limits_file: Path | None, instruments_file: Path | None
) -> tuple[FileText, FileText]:
    """The text of both files; None takes the default that comes with the engine.

    Raises:
        ConfigFaults: one cannot be read.
    """
    limits, instruments, faults = _texts(limits_file, instruments_file)
    if limits is None or instruments is None:
        raise ConfigFaults(faults)
    return limits, instruments


def read_rulebook(
    limits_text: FileText | None,
    instruments_text: FileText | None,
    unreadable: Iterable[Fault],
    sessions: Collection[str],
) -> Rulebook:
    """Read both texts together; None is one of a file that is `unreadable`.

    sessions are the brokers that there are beside the paper one.

    Raises:
        ConfigFaults: every fault of both is listed.
    """
    faults = list(unreadable)
    limits_toml = _parsed(limits_text, faults)
    instruments_toml = _parsed(instruments_text, faults)
    limits = read_limits(limits_toml) if limits_toml else LimitsFile()
    instruments = read_instruments(instruments_toml) if instruments_toml else {}
    fx = read_fx(instruments_toml) if instruments_toml else {}
    if limits_toml:
        _check_brokers(limits_toml, limits, (PAPER, *sessions))
    if limits_toml and instruments_toml:
        _check_symbols(limits_toml, limits, instruments_toml)
        _check_currencies(limits, instruments_toml, instruments)
    for file in (limits_toml, instruments_toml):
        faults += sorted(file.faults, key=lambda fault: fault.line) if file else ()
    if faults:
        raise ConfigFaults(faults)
    return _versioned(limits, instruments, fx)


def unset_limits(rulebook: Rulebook) -> list[str]:
    """The limits that do not reach every signal, a phrase each; where unset, they refuse.

    For instance `order_notional_max for account main (only symbol AAPL has it)`. The rate of
    cancels is none of them: cancels always pass, and unset it only does not slow them down.
    """
    return _unset(rulebook, [name for name in LIMIT_NAMES if name != CANCEL_RATE])


def unset_cancel_rates(rulebook: Rulebook) -> list[str]:
    """The accounts whose cancels are not throttled, a phrase each: an unset rate lets them pass."""
    return _unset(rulebook, [CANCEL_RATE])


def _unset(rulebook: Rulebook, names: Iterable[str]) -> list[str]:
    found: list[str] = []
    limits = rulebook.limits
    for name in names:
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


def _texts(
    limits_file: Path | None, instruments_file: Path | None
) -> tuple[FileText | None, FileText | None, list[Fault]]:
    faults: list[Fault] = []
    limits = _text(limits_file, DEFAULT_LIMITS, "limits", faults)
    return limits, _text(instruments_file, DEFAULT_INSTRUMENTS, "instruments", faults), faults


def _text(given: Path | None, default: str, kind: str, faults: list[Fault]) -> FileText | None:
    """Read a file, or the one that comes with the engine; see `file_text`."""
    if given is not None:
        return file_text(given, kind, faults)
    return FileText(default, (files("trade_engine.config") / default).read_text(encoding="utf-8"))


def _parsed(given: FileText | None, faults: list[Fault]) -> TomlFile | None:
    return None if given is None else parsed_toml(given, faults)


def _check_brokers(file: TomlFile, limits: LimitsFile, known: Collection[str]) -> None:
    for account_id, terms in limits.accounts.items():
        path: KeyPath = ("accounts", account_id)
        named = {(*path, "broker"): terms.broker} | {
            (*path, "routes", each.level.value, each.scope_id): each.broker for each in terms.routes
        }
        for place, broker in named.items():
            if broker not in known:
                file.fault(place, f"{' or '.join(known)}{did_you_mean(broker, known)}")


def _check_symbols(limits: TomlFile, found: LimitsFile, instruments: TomlFile) -> None:
    """What is said of a symbol that is no instrument says nothing: it was meant for another one."""
    known = instruments.names(("instruments",))
    for level in (Level.SYMBOL, Level.STRATEGY_SYMBOL):
        for scope_id in limits.names(("limits", level.value)):
            symbol = scope_id.rpartition("|")[2]
            if symbol not in known:
                allowed = f"an instrument of {instruments.name}{did_you_mean(symbol, known)}"
                limits.fault(("limits", level.value, scope_id), allowed)
    for account_id, account in found.accounts.items():
        for route in account.routes:
            if route.level is Level.SYMBOL and route.scope_id not in known:
                allowed = (
                    f"an instrument of {instruments.name}{did_you_mean(route.scope_id, known)}"
                )
                path = ("accounts", account_id, "routes", "symbol", route.scope_id)
                limits.fault(path, allowed)
    for strategy_id, terms in found.strategies.items():
        for symbol in terms.symbols:
            if symbol not in known:
                allowed = f"instruments of {instruments.name}{did_you_mean(symbol, known)}"
                limits.fault(("strategies", strategy_id, "symbols"), allowed)


def _check_currencies(
    limits: LimitsFile, file: TomlFile, instruments: dict[str, Instrument]
) -> None:
    """Each account has to count what it may trade: in its own currency, or by a pair for it.

    A pair whose table is at fault counts as there: its own fault says enough.
    """
    currencies = sorted({terms.currency for terms in limits.accounts.values()})
    pairs = file.names(("fx",))
    for symbol, instrument in instruments.items():
        needed = [instrument.currency + each for each in currencies if each != instrument.currency]
        if missing := [each for each in needed if each not in pairs]:
            tables = " and ".join(f"[fx.{each}]" for each in missing)
            accounts = ", ".join(currencies)
            allowed = f"the currency of every account ({accounts}), or what {tables} converts"
            file.fault(("instruments", symbol, "currency"), allowed)


def _versioned(limits: LimitsFile, instruments: dict[str, Instrument], fx: Fx) -> Rulebook:
    unnamed = _rulebook("", limits, instruments, fx)
    canonical = orjson.dumps(unnamed.content(), option=orjson.OPT_SORT_KEYS)
    version = hashlib.sha256(canonical).hexdigest()[:VERSION_LENGTH]
    return _rulebook(version, limits, instruments, fx)


def _rulebook(
    version: str, found: LimitsFile, instruments: dict[str, Instrument], fx: Fx
) -> Rulebook:
    return Rulebook(
        version=version,
        limits=Limits(version, found.numbers, found.rates, found.raises),
        instruments=instruments,
        accounts=found.accounts,
        strategies=found.strategies,
        fx=fx,
    )
