"""What operators set: settings, limits and instruments, read from files and the environment.

Everything is validated before the engine starts, and a fault names its file, line and key.
Imported by the wiring alone; a stranger to api, storage, brokers and embedded.

    settings = load_settings(listen="127.0.0.1:0")
    rulebook = load_rulebook(settings.limits_file, settings.instruments_file)
    for warning in unset_limits(rulebook):
        print(warning)
"""

from trade_engine.config.faults import ConfigFaults, Fault
from trade_engine.config.loading import load_settings
from trade_engine.config.rulebook import load_rulebook, unset_cancel_rates, unset_limits
from trade_engine.config.settings import SettingInfo, Settings, described

__all__ = [
    "ConfigFaults",
    "Fault",
    "SettingInfo",
    "Settings",
    "described",
    "load_rulebook",
    "load_settings",
    "unset_cancel_rates",
    "unset_limits",
]
