"""Settings come from flags, then the environment, then defaults; what is wrong is told in words."""

from __future__ import annotations

import dataclasses
import os
import traceback
from decimal import Decimal
from pathlib import Path

import pytest

from trade_engine.brokers.paper_config import PaperConfig
from trade_engine.config import ConfigFaults, Settings, described, load_settings
from trade_engine.config.settings import default_data_dir

POSTGRES, REDIS = "postgresql://u:secret@h/db", "redis://:secret@h:6379/0"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.upper().endswith(("DATABASE_URL", "REDIS_URL")) or variable.upper().startswith(
            "TRADE_ENGINE_"
        ):
            monkeypatch.delenv(variable)


def faults(**overrides: object) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load_settings(**overrides)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    return [str(fault) for fault in caught.value.faults]


def test_without_anything_it_is_private_and_local() -> None:
    settings = load_settings(listen=None, database_url=None)
    assert settings.listen == "127.0.0.1:50051"
    assert settings.database_url is settings.redis_url is None
    assert settings.limits_file is settings.instruments_file is None
    assert settings.metrics_listen == ""
    assert settings.data_dir == default_data_dir()


def test_a_flag_wins_over_the_variable_and_that_over_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", REDIS)
    monkeypatch.setenv("DATABASE_URL", "postgresql://plain/db")
    assert load_settings().database_url == "postgresql://plain/db"
    monkeypatch.setenv("TRADE_ENGINE_DATABASE_URL", "postgresql://ours/db")
    assert load_settings().database_url == "postgresql://ours/db"
    assert load_settings(database_url="postgresql://flag/db").database_url == "postgresql://flag/db"
    assert load_settings().redis_url == REDIS


def test_every_setting_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    other = {
        "listen": "unix:/run/engine.sock",
        "data_dir": "/data",
        "database_url": POSTGRES,
        "redis_url": REDIS,
        "limits_file": "/limits.toml",
        "instruments_file": "/instruments.toml",
        "brokers_file": "/brokers.toml",
        "apply_limits": "True",
        "join_other_versions": "True",
        "replica_id": "a",
        "log_level": "warning",
        "log_format": "json",
        "metrics_listen": "127.0.0.1:9464",
        "queue_cap": "77",
        "database_pool_size": "77",
        "database_time_limit_ms": "777",
        "redis_connections": "77",
        "redis_time_limit_ms": "777",
        "portfolio_target": "127.0.0.1:50061",
        "portfolio_time_limit_ms": "77",
        "portfolio_age_ms_max": "777",
        "portfolio_cash_tolerance": "7.5",
        "portfolio_equity_tolerance_bps": "0.7",
        "portfolio_confirm_ms": "777",
        "paper_seed": "77",
        "paper_latency_ms": "77",
        "paper_commission_per_share": "0.005",
        "paper_commission_bps": "0.7",
        "paper_commission_min": "0.35",
        "paper_commission_step": "0.001",
        "paper_reject_probability": "0.25",
        "paper_gap_probability": "0.25",
        "paper_gap_bps": "7",
        "paper_day_end_s": "none",
    }
    assert list(other) == [each.name for each in described()]
    for each in described():
        monkeypatch.setenv(each.variables[0], other[each.name])
    found = load_settings().model_dump(mode="json")
    assert {name: "none" if value is None else str(value) for name, value in found.items()} == other


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_settings()
    for variable in (variable for each in described() for variable in each.variables):
        monkeypatch.setenv(variable, "")
    assert load_settings() == before


def test_the_paper_brokers_settings_are_the_paper_brokers() -> None:
    fields = {each.name for each in dataclasses.fields(PaperConfig)}
    assert set(load_settings().paper_settings()) == fields
    assert PaperConfig(**load_settings().paper_settings()) == PaperConfig()
    given = load_settings(paper_seed=7, paper_commission_bps="0.1", paper_reject_probability=1)
    assert PaperConfig(**given.paper_settings()) == PaperConfig(
        seed=7, commission_bps=Decimal("0.1"), reject_probability=1.0
    )


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "listen",
            "0.0.0.0:50051",
            (
                "--listen: got '0.0.0.0:50051', allowed is a loopback address with a port, such as "
                "127.0.0.1:50051, or unix:PATH: listening beyond this machine needs TLS and "
                "authentication, which this engine does not have yet; put it behind a "
                "proxy that has "
                "both"
            ),
        ),
        (
            "listen",
            "50051",
            (
                "--listen: got '50051', allowed is a loopback address with a port, such as "
                "127.0.0.1:50051, or unix:PATH"
            ),
        ),
        (
            "data_dir",
            "~nobody-of-this-name/x",
            (
                "--data-dir: got '~nobody-of-this-name/x', allowed is a path whose ~ "
                "is the home of a "
                "user of this machine"
            ),
        ),
        (
            "replica_id",
            "a b",
            (
                "replica_id: got 'a b', allowed is 1 to 64 characters of A-Z a-z 0-9 . _ : -, the "
                "first a letter or digit"
            ),
        ),
        (
            "log_level",
            "loud",
            "log_level: got 'loud', allowed is debug, info, warning or error",
        ),
        ("log_format", "xml", "log_format: got 'xml', allowed is console or json"),
        (
            "metrics_listen",
            "0.0.0.0:9464",
            (
                "metrics_listen: got '0.0.0.0:9464', allowed is a loopback address "
                "with a port, such "
                "as 127.0.0.1:9464"
            ),
        ),
        ("queue_cap", 0, "queue_cap: got '0', allowed is a whole number from 1 to 1000000"),
        ("queue_cap", "many", "queue_cap: got 'many', allowed is a whole number from 1 to 1000000"),
        (
            "paper_commission_bps",
            "NaN",
            "paper_commission_bps: got 'NaN', allowed is a number from 0 to 9999",
        ),
        (
            "paper_commission_min",
            "1e99999999",
            "paper_commission_min: got '1e99999999', allowed is a number from 0 to 1000000",
        ),
        (
            "paper_commission_step",
            "0",
            "paper_commission_step: got '0', allowed is a number above 0, at most 1000000",
        ),
        (
            "paper_reject_probability",
            "nan",
            "paper_reject_probability: got 'nan', allowed is a number from 0 to 1",
        ),
        (
            "paper_day_end_s",
            86_400,
            (
                "paper_day_end_s: got '86400', allowed is a whole number from 0 to "
                "86399, or none for "
                "never"
            ),
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(name: str, value: object, told: str) -> None:
    assert faults(**{name: value}) == [told]


PATHS = ("data_dir", "limits_file", "instruments_file", "brokers_file")


@pytest.mark.parametrize("name", [each.name for each in described() if each.name not in PATHS])
def test_no_setting_takes_just_anything(name: str) -> None:
    (told,) = faults(**{name: "-1 \n no, not this"})
    assert told.endswith(next(each.allowed for each in described() if each.name == name))
    assert "\n" not in told


def test_every_wrong_variable_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADE_ENGINE_LISTEN", "example.org:1")
    monkeypatch.setenv("TRADE_ENGINE_QUEUE_CAP", "-1")
    monkeypatch.setenv("DATABASE_URL", "mysql://u:secret@h/db")
    monkeypatch.setenv("TRADE_ENGINE_REDIS_URL", "u:secret@h")
    told = faults()
    assert [each.split(":")[0] for each in told] == [
        "TRADE_ENGINE_LISTEN",
        "DATABASE_URL",
        "TRADE_ENGINE_REDIS_URL",
        "TRADE_ENGINE_QUEUE_CAP",
    ]
    assert told[1] == (
        "DATABASE_URL: got 'mysql://u:***@h/db', allowed is postgresql://user@host:port/name"
    )


def test_an_empty_variable_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADE_ENGINE_REDIS_URL", "")
    monkeypatch.setenv("REDIS_URL", "http://h")
    assert [each.split(":")[0] for each in faults()] == ["REDIS_URL"]


def test_one_store_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(redis_url=REDIS) == [
        (
            "--redis-url: got redis_url without database_url, allowed is both, or neither: give "
            "--database-url or TRADE_ENGINE_DATABASE_URL too"
        )
    ]
    monkeypatch.setenv("DATABASE_URL", POSTGRES)
    assert faults() == [
        (
            "DATABASE_URL: got database_url without redis_url, allowed is both, or neither: give "
            "--redis-url or TRADE_ENGINE_REDIS_URL too"
        )
    ]
    assert load_settings(redis_url=REDIS).database_url == POSTGRES


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TRADE_ENGINE_LIMITS", "TRADE_ENGINE_LIMITS_FILE"),
        ("TRADE_ENGINE_LIMIT_FILE", "TRADE_ENGINE_LIMITS_FILE"),
        ("TRADE_ENGINE_INSTRUMENTS", "TRADE_ENGINE_INSTRUMENTS_FILE"),
        ("trade_engine_lissten", "TRADE_ENGINE_LISTEN"),
        ("TRADE_ENGINE_DATABSE_URL", "TRADE_ENGINE_DATABASE_URL"),
    ],
)
def test_a_misspelled_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "x")
    assert faults() == [
        (
            f"{variable}: got an unknown variable, allowed is a variable of this "
            f"engine; did you mean "
            f"{meant}?"
        )
    ]
    (_, second) = faults(queue_cap=0)
    assert second.startswith("queue_cap: got '0'")


@pytest.mark.parametrize(
    "variable",
    [
        "TRADE_ENGINE_TEST_DATABASE_URL",
        "TRADE_ENGINE_PORT",
        "TRADE_ENGINE_PORT_50051_TCP_ADDR",
        "TRADE_ENGINE_SERVICE_HOST",
        "TRADE_ENGINE_SERVICE_PORT_GRPC",
        "TRADE_ENGINE_COLOUR",
        "LIMITS_FIL",
    ],
)
def test_variables_of_others_are_let_be(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "x")
    assert load_settings() == Settings()


def test_no_view_of_the_settings_shows_a_password() -> None:
    settings = load_settings(database_url=POSTGRES, redis_url=REDIS)
    assert settings.database_url == POSTGRES
    shown = settings.redacted()
    assert shown["database_url"] == "postgresql://u:***@h/db"
    assert shown["redis_url"] == "redis://:***@h:6379/0"
    assert shown["listen"] == "127.0.0.1:50051"
    assert "secret" not in f"{settings} {settings!r} {shown}"
    assert load_settings().redacted()["database_url"] is None


def test_data_is_kept_where_the_users_programs_keep_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_data_dir() == tmp_path / ".local" / "share" / "trade-engine"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert default_data_dir() == tmp_path / ".local" / "share" / "trade-engine"
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert default_data_dir() == Path("/srv/data/trade-engine")
    assert load_settings(data_dir="~/x").data_dir == tmp_path / "x"


def test_a_user_without_a_home_has_data_beside_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_data_dir() == Path(".trade-engine")


def test_a_setting_that_does_not_exist_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="no such settings: lissten"):
        load_settings(lissten="x")
