"""The command line against a real engine: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.stores import StoreUrls
from tests.support.engine_process import engine_process
from trade_engine import __version__
from trade_engine.config.rulebook import rulebook_texts
from trade_engine.storage.postgres.url import connection_words

pytestmark = pytest.mark.stores

SIGNAL = Path(__file__).resolve().parents[2] / "examples" / "signal.json"
COMMAND = [sys.executable, "-c", "import sys; from trade_engine.cli import main; sys.exit(main())"]
LIMIT_S = 60
NOBODY = "127.0.0.1:1"


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Cli:
    """The command as a user runs it."""

    target: str
    data_dir: Path

    def __call__(self, *arguments: str, given: str | None = None, target: str = "") -> Ended:
        variables = {**os.environ, "TRADE_ENGINE_TARGET": target or self.target}
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=variables,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)


# A quote stays fresh for as long as the commands of one test may take.
PATIENT_LIMITS = rulebook_texts(None, None)[0].text.replace(
    "quote_age_ms_max = 10000", "quote_age_ms_max = 600000"
)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    folder = tmp_path_factory.mktemp("cli")
    limits = folder / "limits.toml"
    limits.write_text(PATIENT_LIMITS)
    arguments = ("--data-dir", folder / "data", "--limits", limits)
    with engine_process(*arguments, log=folder / "log") as engine:
        yield Cli(engine.target, folder / "data")


def signal(**changes: Any) -> str:
    return json.dumps(json.loads(SIGNAL.read_text()) | changes)


def quote(cli: Cli, symbol: str = "AAPL") -> None:
    assert cli("quotes", "set", symbol, "--bid", "149.99", "--ask", "150.01").code == 0


def test_the_first_three_commands_of_the_ready_line(cli: Cli) -> None:
    quote(cli)
    first = cli("submit", str(SIGNAL))
    assert first.code == 0
    assert first.out.startswith("APPROVED momentum-v1-2026-11-22-AAPL-1: ")
    assert "BUY" in first.out
    again = cli("submit", str(SIGNAL), "--json")
    assert again.json[0]["replayed"] is True
    assert again.json[0]["decision"]["outcome"] == "OUTCOME_APPROVED"
    watched = cli("watch", "--after-sequence", "0", "--count", "1", "--json")
    assert watched.json[0]["update"]["order"]["symbol"] == "AAPL"


def test_a_refusal_is_exit_code_1_and_its_numbers_are_shown(cli: Cli) -> None:
    quote(cli)
    refused = cli("submit", "-", given=signal(signal_id="big", target_exposure=9e6, constraints={}))
    assert refused.code == 1
    assert refused.out.startswith("REJECTED big: ")
    shown = cli("decisions", "big")
    assert shown.code == 0
    assert "ORDER_NOTIONAL_LIMIT" in shown.out
    assert "50000" in shown.out
    checks = cli("decisions", "big", "--json").json[0]["checks"]
    assert {check["name"]: check["passed"] for check in checks}["order_notional"] is False
    listed = cli("decisions", "--outcome", "REJECTED", "--json").json
    assert "big" in [each["signal_id"] for each in listed]


@pytest.mark.parametrize("form", ["object", "array", "lines", "pretty", "wrapped"])
def test_every_form_of_input(cli: Cli, form: str, tmp_path: Path) -> None:
    quote(cli)
    some = [json.loads(signal(signal_id=f"{form}-{n}", target_exposure=15000)) for n in range(3)]
    text = {
        "object": json.dumps(some[0]),
        "array": json.dumps(some),
        "lines": "\n".join(map(json.dumps, some)) + "\n\n",
        "pretty": json.dumps(some, indent=2),
        "wrapped": "\n".join(json.dumps({"signal": each}) for each in some),
    }[form]
    file = tmp_path / "signals"
    file.write_text(text)
    wanted = {each["signal_id"] for each in (some[:1] if form == "object" else some)}
    for source, given in ((str(file), None), ("-", text)):
        done = cli("submit", source, "--json", given=given)
        assert done.code == 0, done.err
        assert {each["decision"]["signal_id"] for each in done.json} == wanted


def test_a_signal_that_is_malformed_does_not_stop_the_others(cli: Cli) -> None:
    quote(cli)
    lines = "\n".join([signal(signal_id="good-1"), signal(signal_id="bad", confidence=7)])
    done = cli("submit", "-", "--json", given=lines)
    assert done.code == 1
    assert [each["decision"]["signal_id"] for each in done.json] == ["good-1"]
    assert "signal bad: INVALID_ARGUMENT_FIELDS: confidence" in done.err


def test_evaluating_writes_nothing(cli: Cli) -> None:
    quote(cli)
    done = cli("evaluate", "-", "--json", given=signal(signal_id="what-if"))
    assert done.json[0]["sequence"] == "0"
    missing = cli("decisions", "what-if")
    assert missing.code == 1
    assert "DECISION_NOT_FOUND" in missing.err


def test_orders_positions_and_status(cli: Cli) -> None:
    quote(cli)
    cli("submit", str(SIGNAL))
    orders = cli("orders", "--symbol", "AAPL", "--json").json
    assert orders
    one = cli("orders", orders[-1]["order_id"])
    assert orders[-1]["order_id"] in one.out
    closed = cli("cancel", orders[-1]["order_id"], "--reason", "too late")
    assert closed.code == 1
    assert "ORDER_NOT_OPEN" in closed.err
    held = cli("positions", "--json").json
    assert [(each["strategy_id"], each["symbol"]) for each in held] == [("momentum-v1", "AAPL")]
    status = cli("status", "--json").json[0]
    assert status["accounts"][0]["gate_open"] is True
    assert "PostgreSQL: ok" in cli("status").out


def test_a_halt_stops_and_a_resume_lets_go(cli: Cli) -> None:
    quote(cli)
    halted = cli("halt", "--symbol", "IBM", "--reason", "odd prices")
    assert halted.code == 0
    assert "DRAINED" in halted.out
    assert "odd prices" in cli("status").out
    quote(cli, "IBM")
    refused = cli("submit", "-", given=signal(signal_id="halted", symbol="IBM"))
    assert refused.code == 1
    assert cli("resume", "--symbol", "IBM", "--reason", "mended").code == 0
    assert cli("submit", "-", given=signal(signal_id="resumed", symbol="IBM")).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["halt", "--reason", "no scope"],
        ["halt", "--global", "--symbol", "AAPL", "--reason", "two scopes"],
        ["halt", "--global"],
        ["submit"],
        ["submit", "no-such-file.json"],
        ["decisions", "--outcome", "MAYBE"],
        ["orders", "--limit", "0"],
        ["no-such-command"],
        ["serve", "--listen", "0.0.0.0:50051"],
        ["migrate"],
        ["audit", "verify", "--data-dir", "/no/such/folder"],
    ],
)
def test_wrong_usage_is_exit_code_2(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.strip()


@pytest.mark.parametrize("given", ["", "{", "[1]", '{"sied": "BUY"}', "not json"])
def test_input_that_is_no_signal_is_exit_code_2(cli: Cli, given: str) -> None:
    done = cli("submit", "-", given=given)
    assert done.code == 2
    assert done.err.strip()


def test_no_engine_is_exit_code_3_and_one_line(cli: Cli) -> None:
    done = cli("status", "--target", NOBODY)
    assert done.code == 3
    assert len(done.err.strip().splitlines()) == 1
    assert f"no engine answers at {NOBODY}" in done.err


def test_quotes_in_and_out(cli: Cli) -> None:
    done = cli("quotes", "publish", "-", given='{"symbol": "MSFT", "last": "24.1"}\n')
    assert (done.code, done.out) == (0, "1 taken, 0 refused.\n")
    assert cli("quotes", "get", "MSFT", "--json").json[0]["last"] == "24.1"
    crossed = cli("quotes", "set", "MSFT", "--bid", "3", "--ask", "2")
    assert crossed.code == 1
    assert "QUOTE_INVALID" in crossed.err
    missing = cli("quotes", "get", "XOM")
    assert missing.code == 1
    assert "XOM has no quote" in missing.err


def test_help_teaches_by_examples(cli: Cli) -> None:
    assert "trade-engine submit examples/signal.json" in cli("submit", "--help").out
    assert "Exit codes" in cli("--help").out
    assert cli("--version").out == f"trade-engine {__version__}\n"


def test_a_running_engine_is_audited_without_stopping_it(cli: Cli) -> None:
    quote(cli)
    cli("submit", str(SIGNAL))
    for kind in ("verify", "replay"):
        done = cli("audit", kind, "--data-dir", str(cli.data_dir))
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1].startswith("CLEAN: ")
        told = cli("audit", kind, "--data-dir", str(cli.data_dir), "--json").json[0]
        assert (told["account_id"], told["clean"]) == ("default", True)
        assert told["counts"]
    unknown = cli("audit", "verify", "--data-dir", str(cli.data_dir), "--account", "mian")
    assert unknown.code == 2
    assert "mian" in unknown.err


def test_what_was_tampered_with_is_found(
    tmp_path: Path, database_url: str, redis_url: str, stores: StoreUrls
) -> None:
    urls = ("--database-url", database_url, "--redis-url", redis_url)
    with engine_process(*urls, log=tmp_path / "log") as engine:
        cli = Cli(engine.target, tmp_path)
        quote(cli)
        assert cli("submit", str(SIGNAL)).code == 0
    where = ("--database-url", database_url)
    assert cli("audit", "verify", *where).code == 0
    with psycopg.connect(**connection_words(database_url), autocommit=True) as connection:
        connection.execute("UPDATE positions SET quantity = '7' WHERE symbol = 'AAPL'")
    failed = cli("audit", "verify", *where)
    assert failed.code == 1
    assert "position momentum-v1 AAPL in the table is not the fold of its fills" in failed.err
    assert failed.out.splitlines()[-1] == "FAILED: 1 fault in the record."
    faults = cli("audit", "verify", *where, "--json").json[0]["faults"]
    assert len(faults) == 1
    assert cli("audit", "replay", *where).code == 0
    assert cli("migrate", *where).code == 0
