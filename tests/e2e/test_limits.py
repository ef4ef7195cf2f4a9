"""The life of the limits as their operators live it: the command line, SIGHUP, restarts."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e import WIDE_LIMITS, assert_clean, connected, engine_on, eventually
from tests.support.engine_process import engine_process, refused_start
from trade_engine.config import load_rulebook
from trade_engine.domain.clock import NS_PER_S, rfc3339
from trade_engine.v1 import decision_pb2

pytestmark = pytest.mark.stores

CLI = [sys.executable, "-c", "import sys; from trade_engine.cli import main; sys.exit(main())"]
TIGHT = WIDE_LIMITS.replace("order_notional_max = 1000000", "order_notional_max = 1000")
SESSION = """[fix.prime]
version = "FIX.4.4"
host = "127.0.0.1"
port = 5001
sender_comp_id = "ENGINE"
target_comp_id = "VENUE"
"""
UNSET = ("drawdown_max", "account_cancel_rate")
BROKEN = TIGHT.replace("slippage_bps_max = 50", "slippage_bps_max = 0")


def cli(target: str, *arguments: str | Path, given: str = "") -> tuple[int, str, str]:
    """The command as a user runs it: exit code, standard output, standard error."""
    done = subprocess.run(
        [*CLI, *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TRADE_ENGINE_TARGET": target},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


async def test_limits_from_the_first_start_to_the_next(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    file, wanted = tmp_path / "limits.toml", tmp_path / "wanted.toml"
    file.write_text(WIDE_LIMITS)
    wanted.write_text(TIGHT)
    tight = load_rulebook(wanted, None).version
    start = ("--database-url", database_url, "--redis-url", redis_url, "--limits", file)
    with engine_process(*start, log=tmp_path / "log") as engine:
        target = engine.target

        # diff: what would change, and exit code 1; nothing is changed by it
        code, out, _ = cli(target, "limits", "diff", wanted)
        assert (code, "limits.order_notional_max" in out, "1000000" in out) == (1, True, True)

        # apply: asks, needs a reason, and puts it into force
        assert cli(target, "limits", "apply", wanted)[0] == 2
        code, _, _ = cli(target, "limits", "apply", wanted, "--reason", "r", given="n\n")
        assert code == 1
        code, out, err = cli(target, "limits", "apply", wanted, "--reason", "tighter", "--yes")
        assert (code, f"Version {tight} is in force" in out) == (0, True), err
        shown: dict[str, Any] = json.loads(cli(target, "limits", "show", "--json")[1])
        assert (shown["version"], shown["reason"]) == (tight, "tighter")
        async with connected(target) as client:
            await client.publish()
            refused = await client.submit(target_exposure=5_000)
            assert refused.outcome == decision_pb2.OUTCOME_REJECTED
            assert refused.limits_version == tight

            # SIGHUP: a file with faults changes nothing, one without comes into force
            file.write_text(BROKEN)
            engine.process.send_signal(signal.SIGHUP)

            async def refused_reload() -> bool:
                lines = (tmp_path / "log").read_text().splitlines()
                return any("[error" in each and "limits_not_reloaded" in each for each in lines)

            await eventually(refused_reload)
            still = await client.submit(target_exposure=5_000)
            assert still.limits_version == tight
            file.write_text(WIDE_LIMITS)
            engine.process.send_signal(signal.SIGHUP)

            async def approved() -> bool:
                decision = await client.submit(target_exposure=5_000)
                return decision.outcome == decision_pb2.OUTCOME_APPROVED

            await eventually(approved)
            await client.until_quiet()

        # show --toml: a file that a start takes
        code, out, _ = cli(target, "limits", "show", "--toml")
        (tmp_path / "shown.toml").write_text(out)
        assert engine.stop() == 0

    file.write_text(TIGHT)
    line = refused_start(*start)
    assert f"these files are limits version {tight}, but version" in line
    assert "--apply-limits" in line

    shown_start = (*start[:-1], tmp_path / "shown.toml")
    with engine_process(*shown_start, log=tmp_path / "log") as engine:
        assert engine.stop() == 0
    with engine_process(*start, "--apply-limits", log=tmp_path / "log") as engine:
        shown = json.loads(cli(engine.target, "limits", "show", "--json")[1])
        assert (shown["version"], shown["reason"]) == (tight, "started with --apply-limits")
        assert engine.stop() == 0
    await assert_clean(database_url)


def raised(until_ns: int) -> str:
    """Orders of at most 1,000, and of 20,000 until then."""
    return f"""{TIGHT}
[raises.quarter-end]
limit = "order_notional_max"
level = "default"
value = 20_000
from = {rfc3339(until_ns - 7_200 * NS_PER_S)}
until = {rfc3339(until_ns)}
reason = "rebalancing"
operator = "ann"
"""


async def test_a_raise_from_the_file_to_its_end(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "raised.toml"
    until_ns = time.time_ns() + 3_600 * NS_PER_S
    file.write_text(raised(until_ns))
    until = rfc3339(until_ns)

    # check: the raise is shown, and a fault in it has its line
    code, out, _ = cli("127.0.0.1:1", "limits", "check", file)
    assert (code, until in out, "in force" in out, "ann: rebalancing" in out) == (0, *[True] * 3)
    file.write_text(raised(until_ns).replace("value = 20_000", "value = 20"))
    code, _, err = cli("127.0.0.1:1", "limits", "check", file)
    line = file.read_text().splitlines().index("value = 20") + 1
    assert (code, f"{file}:{line}: raises.quarter-end.value" in err) == (2, True)
    file.write_text(raised(until_ns))

    with engine_on(database_url, redis_url, tmp_path) as engine:
        code, out, _ = cli(engine.target, "limits", "diff", file)
        assert (code, f"until {until} (ann: rebalancing)" in out) == (1, True)
        apply = ("limits", "apply", file, "--reason", "quarter end", "--yes")
        code, out, _ = cli(engine.target, *apply)
        assert (code, "raises.quarter-end" in out, until in out) == (0, True, True)
        async with connected(engine.target) as client:
            await client.publish()
            approved = await client.submit(target_exposure=5_000)
            assert approved.outcome == decision_pb2.OUTCOME_APPROVED
            [check] = [each for each in approved.checks if each.name == "order_notional"]
            assert (check.limit, check.source) == ("20000", "raised.toml:default raise quarter-end")
            shown = cli(engine.target, "limits", "show")[1]
            assert (until in shown, "in force" in shown) == (True, True)
            [active] = (await client.status()).active_raises
            assert (active.name, active.limit, active.regular_limit) == (
                "quarter-end",
                "20000",
                "1000",
            )
            assert "raised to 20000 until" in cli(engine.target, "status")[1]

            # it ends without anybody
            file.write_text(raised(time.time_ns() + NS_PER_S))
            assert cli(engine.target, *apply)[0] == 0

            fresh = (f"another-{number}" for number in itertools.count())

            async def refused() -> bool:
                decision = await client.submit(target_exposure=5_000, strategy_id=next(fresh))
                return decision.outcome == decision_pb2.OUTCOME_REJECTED

            await eventually(refused)
            assert not (await client.status()).active_raises
            shown = json.loads(cli(engine.target, "limits", "show", "--json")[1])
            assert not shown["raises"][0].get("active")
            await client.until_quiet()
        assert engine.stop() == 0
    await assert_clean(database_url)


def test_a_check_tells_what_refuses_where_it_is_not_set_and_what_passes(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    without = [line for line in TIGHT.splitlines() if not line.startswith(UNSET)]
    assert len(without) == len(TIGHT.splitlines()) - len(UNSET)
    file.write_text("\n".join(without))
    code, out, _ = cli("127.0.0.1:1", "limits", "check", file)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("Not set")] == [
        "Not set, and so refuses: drawdown_max for account default",
        "Not set, and so lets every cancel pass: account_cancel_rate for account default",
    ]
    code, out, _ = cli("127.0.0.1:1", "limits", "check", file, "--json")
    unset = [f"{name} for account default" for name in UNSET]
    assert (code, json.loads(out)["unset"]) == (0, unset)


def test_a_file_is_checked_without_an_engine(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(TIGHT)
    code, out, _ = cli("127.0.0.1:1", "limits", "check", file)
    assert (code, load_rulebook(file, None).version in out) == (0, True)
    of_venue, brokers = TIGHT.replace('"paper"', '"prime"'), tmp_path / "brokers.toml"
    file.write_text(of_venue)
    code, _, err = cli("127.0.0.1:1", "limits", "check", file)
    assert (code, "accounts.default.broker" in err) == (2, True)
    brokers.write_text(SESSION)
    check = ("limits", "check", file, "--brokers", brokers)
    code, out, err = cli("127.0.0.1:1", *check)
    assert (code, "no faults" in out, err) == (0, True, "")
    brokers.write_text(SESSION.replace("5001", "0"))
    file.write_text(of_venue.replace("slippage_bps_max = 50", "slippage_bps_max = 0"))
    code, _, err = cli("127.0.0.1:1", *check)
    assert (code, len(err.splitlines())) == (2, 3), "one fault of each file, and their number"
    assert f"{brokers}:4: fix.prime.port" in err
    assert "limits.slippage_bps_max" in err
    file.write_text(BROKEN.replace("broker", "brokr") + "\n[limits.symbol.APPL]\n")
    code, out, err = cli("127.0.0.1:1", "limits", "check", file)
    assert (code, out) == (2, "")
    assert err.count(f"{file}:") == len(err.splitlines()) - 1
    assert "did you mean AAPL?" in err
    code, out, _ = cli("127.0.0.1:1", "limits", "check", file, "--json")
    told = json.loads(out)
    assert code == 2
    assert {"file": str(file), "line": 9, "key": "limits.slippage_bps_max"}.items() <= next(
        each for each in told["faults"] if each["key"] == "limits.slippage_bps_max"
    ).items()
