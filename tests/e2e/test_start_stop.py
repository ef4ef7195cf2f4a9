"""The engine as a program: it starts, says so, stops, and leaves its data and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import psycopg
import pytest
import redis

from tests.integration.embedded_support import used_before
from tests.support.api_server import told
from tests.support.e2e import (
    APPROVED,
    WIDE_LIMITS,
    Client,
    assert_clean,
    connected,
    engine_on,
    eventually,
    processes_of,
)
from tests.support.engine_process import START_S, STOP_S, EngineProcess, engine_process
from trade_engine.auditing import audited_database
from trade_engine.storage.postgres.url import connection_words
from trade_engine.v1 import (
    control_service_pb2,
    decision_pb2,
    order_pb2,
    portfolio_pb2,
    signal_pb2,
    signal_service_pb2,
)

pytestmark = pytest.mark.stores

CHECKOUT = Path(__file__).resolve().parents[2]
SERVE = (sys.executable, "-m", "trade_engine.main")
ANY_PORT = ("--listen", "127.0.0.1:0")
GONE_S = 5
USAGE = 2


@dataclass
class Ended:
    """A start that came to an end by itself."""

    code: int
    output: str
    errors: list[str]
    """The lines of standard error."""


def start_in_vain(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Ended:
    """Start an engine that is to refuse."""
    command = [*SERVE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)
    return Ended(done.returncode, done.stdout, done.stderr.splitlines())


@dataclass
class Started:
    """A running engine, and the line that said that it is ready."""

    process: subprocess.Popen[str]
    said: str

    @property
    def target(self) -> str:
        found = re.search(r"ready on (\S+)", self.said)
        assert found, self.said
        return found[1]


@contextmanager
def started(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Started]:
    """Run a command until it says that it is ready; stop it in order at the end."""
    env = dict(env or os.environ)
    env.pop("PYTHONUNBUFFERED", None)  # it has to speak up by itself
    with log.open("a") as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=env,
            cwd=cwd,
            start_new_session=True,  # a foreground process group of its own
        )
    assert process.stdout is not None
    with process.stdout:
        try:
            readable, _, _ = select.select([process.stdout], [], [], START_S)
            line = process.stdout.readline() if readable else ""
            assert "ready" in line, log.read_text()
            yield Started(process, line)
            process.terminate()
            assert process.wait(STOP_S) == 0
        finally:
            process.kill()
            process.wait()


def told_in_one_line(ended: Ended) -> str:
    """The one line that says why; nothing else was said, and the exit code is that of misuse."""
    assert (ended.code, ended.output, len(ended.errors)) == (USAGE, "", 1), ended
    return ended.errors[0]


def until_nobody_is_left(data_dir: Path, before: list[psutil.Process]) -> None:
    """Whoever worked for the engine is gone within seconds, and nobody holds its data."""
    assert len(before) >= 5, "an engine, two servers and their guards at least"
    _, alive = psutil.wait_procs(before, GONE_S)
    assert alive == []
    assert processes_of(data_dir) == []


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where a start takes a fraction of the time of a first one."""
    return used_before(tmp_path / "data")


# ---- what is kept ---------------------------------------------------------------------------


@dataclass
class Kept:
    """All that a client can read, and all that Redis keeps for good."""

    decisions: list[decision_pb2.Decision]
    orders: list[order_pb2.Order]
    positions: list[portfolio_pb2.Position]
    sequence: int
    keys: dict[bytes, object]


async def kept(target: str, data_dir: Path, signal_ids: list[str]) -> Kept:
    async with connected(target) as client:
        await client.until_quiet()
        found = [await client.decision(signal_id) for signal_id in signal_ids]
        positions = control_service_pb2.ListPositionsRequest()
        return Kept(
            [decision for decision in found if decision is not None],
            await client.orders(),
            list((await client.control.ListPositions(positions)).positions),
            (await client.status()).sequence,
            keys_of(data_dir),
        )


def keys_of(data_dir: Path) -> dict[bytes, object]:
    """Every key without an expiry, and its value."""
    found: dict[bytes, object] = {}
    with redis.Redis(unix_socket_path=str(data_dir / "run" / "valkey.sock")) as client:
        for key in client.scan_iter():
            if client.pttl(key) == -1:
                found[key] = client.hgetall(key) if client.type(key) == b"hash" else client.get(key)
    return found


async def trade(target: str, number: int = 1) -> list[str]:
    """Orders filled, one refused by risk, one resting; answers with the signals' ids."""
    ids = [f"kept-{number}-{each}" for each in range(6)]
    async with connected(target) as client:
        await client.publish()
        for position, signal_id in enumerate(ids[:4]):
            symbol = "IBM" if position % 2 else "AAPL"
            strategy = f"s{number}-{position}"
            decision = await client.submit(signal_id, symbol=symbol, strategy_id=strategy)
            assert decision.outcome == APPROVED
        rejected = await client.submit(ids[4], target_exposure=2_000_000.0)
        assert rejected.outcome == decision_pb2.OUTCOME_REJECTED
        # Below the offer: it rests, and is canceled so that everything may come to a rest.
        resting = await client.submit(
            ids[5], strategy_id=f"s{number}-rest", constraints={"max_slippage_bps": 0.0}
        )
        await cancel(client, resting.order_id)
        await client.until_quiet()
    return ids


async def cancel(client: Client, order_id: str) -> None:
    request = signal_service_pb2.CancelOrderRequest(order_id=order_id, reason="drill")
    await client.signals.CancelOrder(request)


async def until_venue_is_heard(database_url: str) -> None:
    async def heard() -> bool:
        with psycopg.connect(**connection_words(database_url)) as connection:
            row = connection.execute(
                "SELECT max(acknowledged_seq) >= (SELECT max(seq) FROM paper.reports)"
                " FROM paper.accounts"
            ).fetchone()
        return row == (True,)

    await eventually(heard)


def limits_file(folder: Path) -> Path:
    file = folder / "limits.toml"
    file.write_text(WIDE_LIMITS)
    return file


@pytest.mark.faults
async def test_everything_is_found_again_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    arguments = ("--data-dir", data_dir, "--limits", limits_file(tmp_path))
    log = tmp_path / "engine.log"
    ids: list[str] = []
    before: Kept | None = None
    for number, how in enumerate(("stop", "kill -9", "stop"), 1):
        with engine_process(*arguments, log=log) as engine:
            if before is not None:
                assert await kept(engine.target, data_dir, ids) == before, f"before {how}"
            ids += await trade(engine.target, number)
            before = await kept(engine.target, data_dir, ids)
            assert len(before.decisions) == 6 * number
            assert len(before.orders) == 5 * number
            assert {order.ord_status for order in before.orders} == {
                order_pb2.ORD_STATUS_FILLED,
                order_pb2.ORD_STATUS_CANCELED,
            }
            assert len(before.positions) == 4 * number
            assert b"te:{default}:state" in before.keys
            with audited_database(None, data_dir) as url:
                assert (await assert_clean(url))["decisions"] == 6 * number
                # What the venue does not know to be heard it tells again, which is journaled.
                await until_venue_is_heard(url)
            if how == "stop":
                assert engine.stop() == 0
            else:
                engine.kill()


# ---- how it ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_and_nobody_is_left(
    data_dir: Path, tmp_path: Path, how: signal.Signals
) -> None:
    with engine_process("--data-dir", data_dir, log=tmp_path / "log") as engine:
        before = processes_of(data_dir)
        began = time.monotonic()
        assert engine.stop(how) == 0
        assert time.monotonic() - began < 10
    until_nobody_is_left(data_dir, before)


async def test_ctrl_c_in_a_terminal_reaches_everybody_and_ends_in_order(
    data_dir: Path, tmp_path: Path
) -> None:
    """A terminal sends SIGINT to the whole foreground group, the guards and servers included."""
    command = (*SERVE, *ANY_PORT, "--data-dir", data_dir, "--limits", limits_file(tmp_path))
    with started(command, tmp_path / "log") as engine:
        ids = await trade(engine.target)
        saved = await kept(engine.target, data_dir, ids)
        before = processes_of(data_dir)
        os.killpg(engine.process.pid, signal.SIGINT)
        assert await asyncio.to_thread(engine.process.wait, 15) == 0
        until_nobody_is_left(data_dir, before)
    with started(command, tmp_path / "log") as engine:
        assert await kept(engine.target, data_dir, ids) == saved


@pytest.mark.faults
async def test_kill_nine_leaves_nobody(data_dir: Path, tmp_path: Path) -> None:
    with engine_process("--data-dir", data_dir, log=tmp_path / "log") as engine:
        before = processes_of(data_dir)
        engine.kill()
        until_nobody_is_left(data_dir, before)


@pytest.mark.faults
async def test_a_stop_under_load_is_quick_and_tells_everybody_where_they_stand(
    data_dir: Path, tmp_path: Path
) -> None:
    """Again and again: what is lost in a race is lost once in many stops."""
    arguments = ("--data-dir", data_dir, "--limits", limits_file(tmp_path))
    for number in range(3):
        with engine_process(*arguments, log=tmp_path / "log") as engine:
            async with connected(engine.target) as client:
                await client.publish()
                ends = asyncio.gather(
                    *(until_refused(client, f"{number}-{each}") for each in range(48))
                )
                await asyncio.sleep(0.7)
                began = time.monotonic()
                assert await asyncio.to_thread(engine.stop) == 0
                assert time.monotonic() - began < 8
                assert set(await ends) == {"SHUTTING_DOWN"}
    with audited_database(None, data_dir) as url:
        assert (await assert_clean(url))["decisions"] > 100


async def until_refused(client: Client, name: str) -> str:
    """Submit signals without end; answers with the reason for which one was not decided."""
    for number in itertools.count():
        up = number % 2 == 0
        side = signal_pb2.Signal.BUY if up else signal_pb2.Signal.SELL
        target = 1_500.0 if up else 0.0
        try:
            await client.submit(
                f"{name}-{number}", strategy_id=name, side=side, target_exposure=target
            )
        except grpc.aio.AioRpcError as error:
            return told(error).reason
    raise AssertionError


# ---- what it says ---------------------------------------------------------------------------


async def test_a_first_start_says_that_it_is_ready_and_what_to_type_next(tmp_path: Path) -> None:
    data_dir = tmp_path / "made" / "by it"
    with started((*SERVE, *ANY_PORT, "--data-dir", data_dir), tmp_path / "log") as engine:
        assert f"(data in {data_dir})" in engine.said
        async with connected(engine.target) as client:
            assert (await client.status()).gate_open
        assert engine.process.stdout is not None
        next_things = [engine.process.stdout.readline().split()[:2] for _ in range(3)]
    assert next_things == [["trade-engine", each] for each in ("quotes", "submit", "watch")]


def test_a_second_engine_on_the_same_data_says_so(data_dir: Path, tmp_path: Path) -> None:
    with engine_process("--data-dir", data_dir, log=tmp_path / "log") as engine:
        ended = start_in_vain("--data-dir", data_dir, "--listen", "127.0.0.1:0")
        line = told_in_one_line(ended)
        assert str(data_dir) in line
        assert f"in use by another engine (process {engine.process.pid})" in line
        assert asyncio.run(answers(engine))


async def answers(engine: EngineProcess) -> bool:
    async with connected(engine.target) as client:
        return (await client.status()).gate_open


def test_a_second_engine_on_the_same_port_says_so_and_starts_nothing(
    data_dir: Path, tmp_path: Path
) -> None:
    with engine_process("--data-dir", data_dir, log=tmp_path / "log") as engine:
        ended = start_in_vain("--data-dir", tmp_path / "other", "--listen", engine.target)
        line = told_in_one_line(ended)
        assert engine.target in line
        assert "address already in use" in line
        assert not (tmp_path / "other" / "postgres").exists()
        assert asyncio.run(answers(engine))


def test_a_port_that_something_else_holds_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        line = told_in_one_line(start_in_vain("--data-dir", tmp_path, "--listen", address))
    assert address in line


def test_a_unix_socket_in_use_is_not_taken_over(data_dir: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    more = ("--listen", address)
    with started((*SERVE, "--data-dir", data_dir, *more), tmp_path / "log"):
        line = told_in_one_line(start_in_vain("--data-dir", tmp_path / "other", *more))
        assert f"cannot listen on {address}: address already in use" in line


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051"])
def test_listening_beyond_this_machine_is_refused(tmp_path: Path, address: str) -> None:
    line = told_in_one_line(start_in_vain("--data-dir", tmp_path / "data", "--listen", address))
    assert f"got '{address}', allowed is a loopback address" in line
    assert not (tmp_path / "data").exists()


BAD_LIMITS = [
    ("order_notional_max = 50000", "ordr_notional_max = 50000", "limits.ordr_notional_max: got an"),
    ("order_notional_max = 50000", "order_notional_max = -5", "limits.order_notional_max: got -5"),
]


@pytest.mark.parametrize(("good", "bad", "words"), BAD_LIMITS)
def test_a_mistake_in_the_limits_file_is_named_with_its_line(
    tmp_path: Path, good: str, bad: str, words: str
) -> None:
    text = (CHECKOUT / "trade_engine" / "config" / "default_limits.toml").read_text()
    file = tmp_path / "limits.toml"
    file.write_text(text.replace(good, bad, 1))
    number = 1 + next(n for n, each in enumerate(file.read_text().splitlines()) if bad in each)
    ended = start_in_vain("--data-dir", tmp_path / "data", "--limits", file)
    assert (ended.code, ended.output) == (USAGE, "")
    assert any(f"{file}:{number}: {words}" in line for line in ended.errors), ended
    assert not (tmp_path / "data").exists()


def test_a_limits_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "none.toml"
    line = told_in_one_line(start_in_vain("--data-dir", tmp_path / "data", "--limits", file))
    assert line.startswith("trade-engine: not_started: ")
    assert str(file) in line


def test_what_does_not_start_says_so_to_machines_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADE_ENGINE_LOG_FORMAT", "json")
    file = tmp_path / "none.toml"
    told = json.loads(told_in_one_line(start_in_vain("--limits", file)))
    assert (told["level"], told["event"], told["exit_code"]) == ("error", "not_started", USAGE)
    assert str(file) in told["why"]


# ---- how it is told what to do --------------------------------------------------------------


async def test_variables_say_what_flags_say(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "LISTEN": f"unix:{tmp_path / 's'}",
        "DATA_DIR": str(data_dir),
        "LIMITS_FILE": str(limits_file(tmp_path)),
        "REPLICA_ID": "the-one",
        "LOG_FORMAT": "json",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"TRADE_ENGINE_{name}", value)
    with started(SERVE, tmp_path / "log") as engine:
        assert f"is ready on {variables['LISTEN']} (data in {data_dir})" in engine.said
        async with connected(variables["LISTEN"]) as client:
            request = control_service_pb2.GetStatusRequest()
            assert (await client.control.GetStatus(request)).replica_id == "the-one"
            await client.publish()
            assert (await client.submit(target_exposure=900_000.0)).outcome == APPROVED
        logged = (tmp_path / "log").read_text().splitlines()
        assert {json.loads(line)["level"] for line in logged} >= {"info"}


def test_a_flag_wins_over_its_variable(data_dir: Path, tmp_path: Path) -> None:
    env = {**os.environ, "TRADE_ENGINE_LISTEN": "127.0.0.1:1"}
    with started((*SERVE, *ANY_PORT, "--data-dir", data_dir), tmp_path / "log", env=env) as engine:
        assert re.fullmatch(r"127\.0\.0\.1:\d{4,5}", engine.target)


def test_a_misspelled_variable_is_refused_with_the_name_that_was_meant(tmp_path: Path) -> None:
    env = {**os.environ, "TRADE_ENGINE_LIMITS": "limits.toml"}
    line = told_in_one_line(start_in_vain("--data-dir", tmp_path / "data", env=env))
    assert "TRADE_ENGINE_LIMITS_FILE" in line


def test_one_store_of_two_is_refused(tmp_path: Path) -> None:
    line = told_in_one_line(start_in_vain("--redis-url", "redis://127.0.0.1:1/0"))
    assert "--database-url" in line


async def test_servers_of_ones_own_are_used_and_left_running(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    for number in range(2):
        with engine_on(database_url, redis_url, tmp_path) as engine:
            async with connected(engine.target) as client:
                await client.publish()
                decision = await client.submit(f"own-{number}", strategy_id=f"s{number}")
                assert decision.outcome == APPROVED
                await client.until_quiet()
                assert len(await client.orders()) == number + 1
            children = psutil.Process(engine.process.pid).children()
            assert children == [], "no server is started beside them"
            assert engine.stop() == 0
        assert (await assert_clean(database_url))["decisions"] == number + 1
    with redis.Redis.from_url(redis_url) as client_of_redis:
        assert client_of_redis.exists(b"te:{default}:state")


def test_stores_that_do_not_answer_are_named_in_one_line(redis_url: str) -> None:
    urls = ("--database-url", "postgresql://nobody@127.0.0.1:1/none", "--redis-url", redis_url)
    ended = start_in_vain(*urls, "--listen", "127.0.0.1:0")
    assert (ended.code, ended.output, len(ended.errors)) == (1, "", 1), ended


# ---- as whom --------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter; pytest's own are for one user alone."""
    folder = Path("/tmp") / f"trade-engine-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user runs all the other tests as such")
async def test_a_plain_user_needs_nothing_but_a_home(open_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, nobody, nobody)
    env = {"PYTHONPATH": str(CHECKOUT), "HOME": str(home)}
    command = (*python_as(nobody), "-m", "trade_engine.main", *ANY_PORT)
    data_dir = home / ".local" / "share" / "trade-engine"
    with started(command, open_folder / "log", env=env, cwd=home) as engine:
        assert f"(data in {data_dir})" in engine.said
        async with connected(engine.target) as client:
            await client.publish()
            await client.submit("theirs")
        before = processes_of(data_dir)
        assert {process.uids().real for process in before} == {nobody}
    until_nobody_is_left(data_dir, before)
    assert {path.lstat().st_uid for path in data_dir.rglob("*")} == {nobody}
    with started(command, open_folder / "log", env=env, cwd=home) as engine:
        async with connected(engine.target) as client:
            assert await client.decision("theirs") is not None


def python_as(user: int) -> list[str]:
    """This Python, run by a user; skips where that cannot be done.

    The checkout and its Python may lie in a home that others cannot enter, so reading, and nothing
    else, is allowed beyond what the user may.
    """
    ids = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"]
    command = ["setpriv", *ids, *reading, sys.executable, "-B"]
    env = {"PYTHONPATH": str(CHECKOUT)}
    check = [*command, "-c", "import trade_engine.main"]
    tried = subprocess.run(check, check=False, capture_output=True, text=True, env=env)
    if tried.returncode:
        pytest.skip(f"NOT TESTED: nobody else can run the engine here: {tried.stderr[-200:]}")
    return command
