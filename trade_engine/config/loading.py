"""How settings come together: flags, environment, defaults; and what is said of a wrong one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trade_engine.config.addresses import redacted_url
from trade_engine.config.faults import ConfigFaults, Fault, nearest, shortened
from trade_engine.config.settings import FLAGS, PREFIX, URLS, Settings, described, variables_of

_NOT_FOR_THE_ENGINE = re.compile(
    rf"^{PREFIX}TEST_|_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT(_\d+_\w+)?$"
)
"""The tests' variables, and those that Kubernetes sets for a service called trade-engine."""


def load_settings(**overrides: Any) -> Settings:
    """Take the settings from flags (None: not given), then the environment, then defaults.

    Raises:
        ConfigFaults: a value is not allowed, or a variable is misspelled; each fault names its
            flag or variable, the value and what is allowed.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(given.keys() - Settings.model_fields.keys())
    if unknown:
        raise TypeError(f"no such settings: {', '.join(unknown)}")
    faults = _misspelled(os.environ)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    else:
        if not faults:
            return settings
        errors = []
    # Outside of `except`: the original holds passwords, so it must not be chained to ours.
    raise ConfigFaults([*faults, *(_fault(each, given) for each in errors)])


def _fault(error: Any, given: Mapping[str, Any]) -> Fault:
    if not error["loc"]:
        return _one_url_of_two(given)
    # pydantic names a field that has variables of its own by the first of them.
    name = str(error["loc"][0]).removeprefix(PREFIX).lower()
    info = next(each for each in described() if each.name == name)
    better = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
    value = str(error["input"])
    shown = redacted_url(value) if name in URLS else value
    return Fault(_source(name, given), repr(shortened(shown)), better or info.allowed)


def _one_url_of_two(given: Mapping[str, Any]) -> Fault:
    sources = {name: _source(name, given) for name in URLS}
    missing = next(name for name in URLS if not sources[name])
    there = next(name for name in URLS if sources[name])
    return Fault(
        sources[there],
        f"{there} without {missing}",
        f"both, or neither: give {FLAGS[missing]} or {variables_of(missing)[0]} too",
    )


def _source(name: str, given: Mapping[str, Any]) -> str:
    """What a setting was given with: its flag, or a variable; "" when it was not."""
    if name in given:
        return FLAGS.get(name, name)
    present = {key.upper() for key, value in os.environ.items() if value}
    return next((each for each in variables_of(name) if each in present), "")


def _misspelled(environment: Mapping[str, str]) -> list[Fault]:
    """Variables that nearly name a setting: passed over, TRADE_ENGINE_LIMITS would set no limit.

    Those that are like none of ours may be somebody else's.
    """
    known = {
        each.removeprefix(PREFIX) for name in Settings.model_fields for each in variables_of(name)
    }
    faults: list[Fault] = []
    for variable in sorted(environment):
        name = variable.upper()
        suffix = name.removeprefix(PREFIX)
        if name == suffix or suffix in known or _NOT_FOR_THE_ENGINE.search(name):
            continue
        near = nearest(suffix, known)
        if near:
            allowed = f"a variable of this engine; did you mean {PREFIX}{near}?"
            faults.append(Fault(variable, "an unknown variable", allowed))
    return faults
