"""`trade-engine halt` when something is broken: how soon it returns, and what it reached."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.engine_process import EngineProcess, engine_process

pytestmark = [pytest.mark.faults]

COMMAND = [sys.executable, "-c", "import sys; from trade_engine.cli import main; sys.exit(main())"]
SLACK_S = 6.0
"""What a busy machine may add to the promised 2 s, the start of Python among it."""
NOBODY = "127.0.0.1:1"


@dataclass
class Ended:
    code: int
    out: str
    """Standard output."""
    told: str
    """Standard output and standard error."""
    took_s: float


def cli(*arguments: str, data_dir: Path, target: str) -> Ended:
    variables = {name: each for name, each in os.environ.items() if "TRADE_ENGINE" not in name}
    variables |= {"TRADE_ENGINE_TARGET": target, "TRADE_ENGINE_DATA_DIR": str(data_dir)}
    began = time.monotonic()
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=variables,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    told = done.stdout + done.stderr
    return Ended(done.returncode, done.stdout, told, time.monotonic() - began)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("halt") / "data"


@pytest.fixture(scope="module")
def engine(data_dir: Path) -> Iterator[EngineProcess]:
    with engine_process("--data-dir", data_dir, log=data_dir.parent / "log") as running:
        yield running


@contextmanager
def frozen(*processes: psutil.Process) -> Iterator[None]:
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def server(engine: EngineProcess, name: str) -> list[psutil.Process]:
    """A private server of the engine's, with its children."""
    return [
        each
        for each in psutil.Process(engine.process.pid).children(recursive=True)
        if each.name() == name
    ]


def test_past_a_frozen_engine_a_halt_goes_straight_into_both_stores(
    engine: EngineProcess, data_dir: Path
) -> None:
    with frozen(psutil.Process(engine.process.pid)):
        done = cli("halt", "--all", "--reason", "stuck", data_dir=data_dir, target=engine.target)
    assert done.code == 1, done.told
    assert "engine      NOT REACHED" in done.told
    assert "PostgreSQL  took the halt" in done.told
    assert "Redis       took the halt" in done.told
    assert "IN DOUBT" in done.told
    assert done.took_s < 2 + SLACK_S
    status = cli("status", "--json", data_dir=data_dir, target=engine.target)
    [account] = json.loads(status.out)["accounts"]
    assert account["trading_state"] == "TRADING_STATE_HALTED"
    assert account["scope_states"][0]["reason"] == "stuck"
    again = cli("halt", "--all", "--reason", "stuck", data_dir=data_dir, target=engine.target)
    assert (again.code, "DRAINED" in again.told) == (0, True), again.told
    resumed = cli("resume", "--all", "--reason", "over", data_dir=data_dir, target=engine.target)
    assert resumed.code == 0, resumed.told


@pytest.mark.parametrize(
    ("program", "lost", "took"),
    [("postgres", "PostgreSQL", "Redis"), ("valkey-server", "Redis", "PostgreSQL")],
)
def test_it_says_which_store_it_could_not_reach(
    engine: EngineProcess, data_dir: Path, program: str, lost: str, took: str
) -> None:
    processes = server(engine, program)
    assert processes
    with frozen(psutil.Process(engine.process.pid), *processes):
        done = cli(
            "halt", "--symbol", "IBM", "--reason", "stuck", "--json",
            data_dir=data_dir, target=engine.target,
        )  # fmt: skip
    said = json.loads(done.out)
    assert done.code == 1
    assert done.took_s < 2 + SLACK_S
    assert said["result"] == "HALT_RESULT_IN_DOUBT"
    assert said["stores"][took] == "took it"
    assert "did not answer" in said["stores"][lost]  # the store's own limit, or the command's
    cli("halt", "--symbol", "IBM", "--reason", "x", data_dir=data_dir, target=engine.target)
    resumed = cli(
        "resume", "--symbol", "IBM", "--reason", "over", data_dir=data_dir, target=engine.target
    )
    assert resumed.code == 0, resumed.told


def test_where_nothing_is_there_it_says_that_nothing_is_halted(tmp_path: Path) -> None:
    done = cli("halt", "--all", "--reason", "panic", data_dir=tmp_path, target=NOBODY)
    assert done.code == 3
    assert "NOT HALTED" in done.told
    assert done.told.count("NOT REACHED") == 3
    assert done.took_s < 2 + SLACK_S


def test_an_engine_that_refuses_the_halt_is_not_passed_by(
    engine: EngineProcess, data_dir: Path
) -> None:
    done = cli(
        "halt", "--account", "nobody", "--reason", "x", data_dir=data_dir, target=engine.target
    )
    assert done.code == 1
    assert "took the halt" not in done.told
