"""The built wheel, alone in an empty environment and an empty folder, serves just as well."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.e2e import SYMBOLS
from tests.support.engine_process import READY

pytestmark = [pytest.mark.slow, pytest.mark.stores]

CHECKOUT = Path(__file__).resolve().parents[2]
# What the wheel has to bring beside its modules.
TRAVELS = (
    "py.typed",
    "migrations/env.py",
    "migrations/versions",
    "storage/redis/lua/snapshot.lua",
    "config/default_limits.toml",
    "config/default_instruments.toml",
    "v1/signal_service_pb2.pyi",
    "v1/signal_service_pb2_grpc.pyi",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built as a release is, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    ran([*command, str(CHECKOUT)])
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, and this one's packages but for the engine itself.

    A folder named in a .pth file is searched, while its own .pth files, the editable engine's among
    them, are not read.
    """
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    ran([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    python = folder / "bin" / "python"
    [packages] = ran([str(python), "-c", "import site; print(site.getsitepackages()[0])"])
    Path(packages, "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    ran([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder with nothing in it."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def clean_environment() -> dict[str, str]:
    """Nothing that could lead back to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def ran(command: list[str], cwd: Path | None = None) -> list[str]:
    """The lines that a command prints; it has to succeed."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=clean_environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def target(environment: Path, empty: Path, tmp_path: Path) -> Iterator[str]:
    """An engine of the wheel, started in an empty folder."""
    command: list[str | Path] = [environment / "bin" / "trade-engine", "serve"]
    command += ["--listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=empty,
            env=clean_environment(),
        )
    assert process.stdout is not None
    try:
        found = READY.search(process.stdout.readline())
        assert found, (tmp_path / "log").read_text()
        yield found[1]
    finally:
        process.terminate()
        process.stdout.close()
        assert process.wait(30) == 0


def test_the_code_in_use_is_the_wheels_and_all_that_it_needs_travels(
    environment: Path, empty: Path
) -> None:
    program = (
        "import json, sys, trade_engine, trade_engine.main\n"
        "from trade_engine.resources import migrations_dir\n"
        "print(json.dumps([trade_engine.__file__, str(migrations_dir()), sys.path]))"
    )
    [line] = ran([str(environment / "bin" / "python"), "-c", program], cwd=empty)
    code, migrations, path = json.loads(line)
    package = Path(code).parent
    assert package.is_relative_to(environment)
    assert Path(migrations) == package / "migrations"
    assert str(CHECKOUT) not in path
    assert [each for each in TRAVELS if not (package / each).exists()] == []
    assert list((package / "migrations" / "versions").glob("0001*.py"))


def test_it_serves_a_signal_from_its_own_command_line(
    environment: Path, empty: Path, target: str, tmp_path: Path
) -> None:
    def trade_engine(*words: str) -> list[Any]:
        command = [str(environment / "bin" / "trade-engine"), *words, "--json"]
        return [json.loads(line) for line in ran(command, cwd=empty)]

    here = ("--target", target)
    trade_engine("quotes", "set", SYMBOLS[0], "--bid", "149.99", "--ask", "150.01", *here)
    signal = str(CHECKOUT / "examples" / "signal.json")
    [answer] = trade_engine("submit", signal, *here)
    assert answer["decision"]["outcome"] == "OUTCOME_APPROVED"
    [again] = trade_engine("submit", signal, *here)
    assert again["replayed"]
    [status] = trade_engine("status", *here)
    assert status["accounts"][0]["gate_open"]
    for kind in ("verify", "replay"):
        [audited] = trade_engine("audit", kind, "--data-dir", str(tmp_path / "data"))
        assert audited["clean"]
        assert 1 in audited["counts"].values()
    assert list(empty.iterdir()) == []
