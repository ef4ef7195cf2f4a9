"""The brokers file: what it may say, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from trade_engine.brokers.fix_config import FixConfig
from trade_engine.config.brokers import load_brokers
from trade_engine.config.faults import ConfigFaults
from trade_engine.config.rulebook import load_rulebook

LEAST = """[fix.venue]
version = "FIX.4.2"
host = "127.0.0.1"
port = 5001
sender_comp_id = "ENGINE"
target_comp_id = "VENUE"
"""
LIMITS = """[accounts.main]
currency = "USD"
opening_cash = 1000
broker = "venue"
"""


def write(folder: Path, text: str, name: str = "brokers.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigFaults) as caught:
        load_brokers(write(folder, text), folder)
    return caught.value.message.replace(f"{folder}/", "").splitlines()


def test_without_a_file_there_is_none() -> None:
    assert load_brokers(None, Path()) == {}


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    [(name, terms)] = load_brokers(write(tmp_path, LEAST), tmp_path / "data").items()
    config = FixConfig(name=name, **terms)
    assert (config.name, config.version, config.port) == ("venue", "FIX.4.2", 5001)
    assert config.store == tmp_path / "data" / "fix" / "venue.sqlite"
    assert config.is_live, "real capital, unless somebody says otherwise"
    assert config.ssl_context() is None


def test_everything(tmp_path: Path) -> None:
    secret = write(tmp_path, "sesame\nand more\n", "password")
    more = f"""username = "me"
password_file = "{secret}"
heartbeat_s = 10
order_status = false
live = false
store = "{tmp_path}/s.sqlite"
tls = true
[fix.venue.accounts]
main = "ACC-1"
"""
    [(name, terms)] = load_brokers(write(tmp_path, LEAST + more), tmp_path).items()
    config = FixConfig(name=name, **terms)
    assert (config.username, config.password) == ("me", "sesame")
    assert (config.heartbeat_s, config.order_status, config.is_live) == (10, False, False)
    assert config.accounts == {"main": "ACC-1"}
    assert config.ssl_context() is not None


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ('"FIX.4.2"', '"FIX.5.0"', "2: fix.venue.version: got"),
        ("port = 5001", "port = 0", "4: fix.venue.port: got 0, allowed is a whole number"),
        ('host = "127.0.0.1"\n', "", "1: fix.venue.host: got nothing"),
        ('"ENGINE"', '"A\\u0001B"', "5: fix.venue.sender_comp_id"),
        ("port =", "prot =", "did you mean port?"),
        ("[fix.venue]", "[fix.paper]", "allowed is another name: paper is the embedded venue"),
        ("[fix.venue]", "[fix.'a b']", '1: fix."a b"'),
        ("[fix.venue]", "[fox.venue]", "allowed is one of fix"),
        ("port = 5001", 'port = 5001\npassword_file = "/nowhere"', "the path of a file that is"),
    ],
)
def test_a_fault(tmp_path: Path, was: str, becomes: str, told: str) -> None:
    assert was in LEAST
    lines = faults(tmp_path, LEAST.replace(was, becomes))
    assert any(told in each for each in lines), lines


def test_an_account_trades_with_a_session_that_there_is(tmp_path: Path) -> None:
    limits = write(tmp_path, LIMITS, "limits.toml")
    assert load_rulebook(limits, None, ["venue"]).accounts["main"].broker == "venue"
    with pytest.raises(ConfigFaults, match="allowed is paper or veneu; did you mean veneu"):
        load_rulebook(limits, None, ["veneu"])
