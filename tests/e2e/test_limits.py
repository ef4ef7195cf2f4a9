"""The life of the limits as their operators live it: the command line, SIGHUP, restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e import WIDE_LIMITS, assert_clean, connected, eventually
from tests.support.engine_process import engine_process
from trade_engine.config import load_rulebook
from trade_engine.v1 import decision_pb2

pytestmark = pytest.mark.stores

CLI = [sys.executable, "-c", "import sys; from trade_engine.cli import main; sys.exit(main())"]
TIGHT = WIDE_LIMITS.replace("order_notional_max = 1000000", "order_notional_max = 1000")
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


def refused_start(*arguments: str | Path) -> str:
    """The one line that an engine says when it does not start for what its user can mend."""
    command = [sys.executable, "-m", "trade_engine.main", "--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    [line] = [each for each in done.stderr.splitlines() if each.startswith("trade-engine: ")]
    return line


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
                return "limits_not_reloaded" in (tmp_path / "log").read_text()

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


def test_a_file_is_checked_without_an_engine(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(TIGHT)
    code, out, _ = cli("127.0.0.1:1", "limits", "check", file)
    assert (code, load_rulebook(file, None).version in out) == (0, True)
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
