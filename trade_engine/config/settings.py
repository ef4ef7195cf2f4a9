"""Settings of the process: flags of the command line, then TRADE_ENGINE_* variables, then defaults.

What may be traded and how much is not here but in the limits and instruments files (`rulebook`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from trade_engine.config.addresses import (
    LISTEN_ALLOWED,
    LOOPBACK_ALLOWED,
    checked_listen,
    checked_loopback,
    redacted_url,
)
from trade_engine.domain.money import ONE, ZERO
from trade_engine.domain.signal import ID_ALLOWED, ID_PATTERN

PREFIX = "TRADE_ENGINE_"
FLAGS = {
    "listen": "--listen",
    "data_dir": "--data-dir",
    "database_url": "--database-url",
    "redis_url": "--redis-url",
    "limits_file": "--limits",
    "instruments_file": "--instruments",
    "brokers_file": "--brokers",
    "apply_limits": "--apply-limits",
    "join_other_versions": "--join-other-versions",
}
"""The settings that `trade-engine serve` also takes as flags."""
PAPER = "paper_"
URLS = ("database_url", "redis_url")
"""Settings that may hold a password, and that plain DATABASE_URL and REDIS_URL give too."""


def default_data_dir() -> Path:
    """The user's data directory, as the XDG base directory specification has it.

    A user without a home gets `.trade-engine` in the current directory.
    """
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    try:
        base = given if given.is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError:
        return Path(".trade-engine")
    return base / "trade-engine"


def _setting(default: Any, meaning: str, allowed: str, **bounds: Any) -> Any:
    """A field; allowed is what a message says when a value is not."""
    return Field(default, description=meaning, json_schema_extra={"allowed": allowed}, **bounds)


def _url(name: str, meaning: str, allowed: str) -> Any:
    variables = AliasChoices(f"{PREFIX}{name}", name)
    return _setting(None, meaning, allowed, validation_alias=variables, repr=False)


def _number(default: Any, meaning: str, least: int, most: int) -> Any:
    bounds: dict[str, Any] = {"ge": least, "le": most}
    if isinstance(default, int):
        return _setting(default, meaning, f"a whole number from {least} to {most}", **bounds)
    bounds["allow_inf_nan"] = False
    return _setting(default, meaning, f"a number from {least} to {most}", **bounds)


def _with_scheme(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if not separator or not rest or scheme not in schemes:
            raise ValueError
        return url

    return AfterValidator(check)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # ~somebody, and there is no such user
        raise ValueError("a path whose ~ is the home of a user of this machine") from error


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _or_none(value: object) -> object:
    return None if value == "none" else value


def _checked_replica(value: str) -> str:
    if not ID_PATTERN.fullmatch(value):
        raise ValueError
    return value


PostgresUrl = Annotated[str, _with_scheme("postgresql", "postgres", "postgresql+psycopg")]
RedisUrl = Annotated[str, _with_scheme("redis", "rediss", "unix")]
ExpandedPath = Annotated[Path, AfterValidator(_expanded)]
Lower = BeforeValidator(_lower)
_MILLISECONDS_MAX = 60_000


class Settings(BaseSettings):
    """How this process runs. `loading.load_settings` makes it, with errors in words."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    listen: Annotated[str, AfterValidator(checked_listen)] = _setting(
        "127.0.0.1:50051",
        "where the gRPC server listens; port 0 takes any free one",
        LISTEN_ALLOWED,
    )
    data_dir: ExpandedPath = Field(
        default_factory=default_data_dir,
        description="where the embedded PostgreSQL and Valkey keep their data",
        json_schema_extra={"allowed": "a directory"},
    )
    database_url: PostgresUrl | None = _url(
        "DATABASE_URL",
        "a PostgreSQL server of your own; with it goes redis_url",
        "postgresql://user@host:port/name",
    )
    redis_url: RedisUrl | None = _url(
        "REDIS_URL",
        "a Redis or Valkey server of your own; with it goes database_url",
        "redis://host:port/number, rediss:// for TLS, or unix:///PATH",
    )
    limits_file: ExpandedPath | None = _setting(
        None, "accounts and limits; unset takes those that come with the engine", "a TOML file"
    )
    instruments_file: ExpandedPath | None = _setting(
        None, "instruments; unset takes those that come with the engine", "a TOML file"
    )
    brokers_file: ExpandedPath | None = _setting(
        None, "venues beside the paper one; unset knows none", "a TOML file"
    )
    apply_limits: bool = _setting(
        False,
        "put both files into force, where others are; otherwise such an engine does not start",
        "true or false",
    )
    join_other_versions: bool = _setting(
        False,
        "start beside replicas with other Redis scripts or another migration, and migrate under "
        "them; otherwise such an engine does not start",
        "true or false",
    )
    replica_id: Annotated[str, AfterValidator(_checked_replica)] | None = _setting(
        None, "this process's name among replicas; unset makes one at start", ID_ALLOWED
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = _setting(
        "info", "the least urgent lines that are logged", "debug, info, warning or error"
    )
    log_format: Annotated[Literal["console", "json"], Lower] = _setting(
        "console", "how log lines look: for people, or one JSON object each", "console or json"
    )
    metrics_listen: Annotated[str, AfterValidator(lambda at: at and checked_loopback(at))] = (
        _setting("", "where Prometheus reads metrics; empty turns that off", LOOPBACK_ALLOWED)
    )
    queue_cap: int = _number(
        10_000, "signals that may wait per account before more are refused", 1, 1_000_000
    )
    database_pool_size: int = _number(12, "connections to PostgreSQL, at most", 6, 100)
    database_time_limit_ms: int = _number(
        5_000, "how long a call to PostgreSQL may take, ms", 100, _MILLISECONDS_MAX
    )
    redis_connections: int = _number(4, "connections to Redis, at most", 1, 100)
    redis_time_limit_ms: int = _number(
        1_000, "how long a call to Redis may take, ms", 10, _MILLISECONDS_MAX
    )
    portfolio_target: Annotated[str, AfterValidator(lambda at: at and checked_loopback(at))] = (
        _setting("", "a portfolio service of the firm's own; empty asks none", LOOPBACK_ALLOWED)
    )
    portfolio_time_limit_ms: int = _number(
        1_000, "how long a call to that service may take, ms", 10, _MILLISECONDS_MAX
    )
    portfolio_age_ms_max: int = _number(
        10_000, "how old what it told may be before signals are refused, ms", 100, 3_600_000
    )
    portfolio_cash_tolerance: Decimal = _number(
        ONE, "how far its cash may be from the ledger's, in the account's currency", 0, 10**12
    )
    portfolio_equity_tolerance_bps: Decimal = _number(
        Decimal(10), "how far its equity may be from the ledger's, bps of what it told", 0, 10_000
    )
    portfolio_confirm_ms: int = _number(
        5_000, "how long it must go on saying something else than the ledger, ms", 0, 3_600_000
    )
    paper_seed: int = _number(0, "decides what the paper broker leaves to chance", 0, 2**32 - 1)
    paper_latency_ms: int = _number(
        0, "how long an order or a cancel travels to the paper broker, ms", 0, _MILLISECONDS_MAX
    )
    paper_commission_per_share: Decimal = _number(
        ZERO, "the paper broker's commission per unit of quantity", 0, 1_000_000
    )
    paper_commission_bps: Decimal = _number(
        ZERO, "the paper broker's commission, bps of the notional", 0, 9_999
    )
    paper_commission_min: Decimal = _number(
        ZERO, "the paper broker's least commission for an order that fills at all", 0, 1_000_000
    )
    paper_commission_step: Decimal = _setting(
        Decimal("0.01"),
        "the paper broker rounds commissions to a multiple of this",
        "a number above 0, at most 1000000",
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
    )
    paper_reject_probability: float = _number(
        0.0, "how often the paper broker rejects an order", 0, 1
    )
    paper_gap_probability: float = _number(
        0.0, "how often the market jumps away as an order reaches the paper broker", 0, 1
    )
    paper_gap_bps: Decimal = _number(ZERO, "how far it jumps then, bps of the touch", 0, 9_999)
    paper_day_end_s: Annotated[int | None, BeforeValidator(_or_none)] = _setting(
        0,
        "when the paper broker ends DAY orders, seconds after midnight UTC",
        "a whole number from 0 to 86399, or none for never",
        ge=0,
        lt=86_400,
    )

    @model_validator(mode="after")
    def _both_stores_or_none(self) -> Self:
        if (self.database_url is None) != (self.redis_url is None):
            raise ValueError
        return self

    def paper_settings(self) -> dict[str, Any]:
        """The paper broker's settings, by the names that the broker has for them."""
        return {
            name.removeprefix(PAPER): getattr(self, name)
            for name in type(self).model_fields
            if name.startswith(PAPER)
        }

    def redacted(self) -> dict[str, Any]:
        """The settings for a log: JSON values, passwords in URLs struck out."""
        shown = self.model_dump(mode="json")
        for name in URLS:
            if shown[name] is not None:
                shown[name] = redacted_url(shown[name])
        return shown


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """A setting in words, for help and documentation.

    flag is "" where there is none; of variables the first that is set wins.
    """

    name: str
    flag: str
    variables: tuple[str, ...]
    default: str
    allowed: str
    meaning: str


def described() -> list[SettingInfo]:
    """Every setting, in order."""
    found: list[SettingInfo] = []
    for name, info in Settings.model_fields.items():
        extra = info.json_schema_extra
        default = "" if info.default is None else str(info.default)
        if isinstance(info.default, bool):
            default = default.lower()
        found.append(
            SettingInfo(
                name=name,
                flag=FLAGS.get(name, ""),
                variables=variables_of(name),
                default="~/.local/share/trade-engine" if name == "data_dir" else default,
                allowed=str(extra["allowed"]) if isinstance(extra, dict) else "",
                meaning=info.description or "",
            )
        )
    return found


def variables_of(name: str) -> tuple[str, ...]:
    """The environment variables of a setting; the first that is set wins."""
    variable = PREFIX + name.upper()
    return (variable, name.upper()) if name in URLS else (variable,)
