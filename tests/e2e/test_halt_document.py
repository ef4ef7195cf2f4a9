"""docs/halt.md is read in a hurry: every command in it does what the page shows."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.engine_process import engine_process

pytestmark = [pytest.mark.stores, pytest.mark.slow]

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "halt.md").read_text()
ADDRESS = "127.0.0.1:50051"


def shown() -> list[tuple[str, str]]:
    """Each command of the page, in order, with the output that stands below it."""
    blocks = re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    steps = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (step.partition("\n") for step in steps)]


def pattern(output: str) -> str:
    """A line of … stands for any lines, one within a line for any words; spaces are spaces."""
    lines = []
    for line in output.splitlines():
        words = r"\s+".join(re.escape(word).replace("…", r"[^\n]*") for word in line.split())
        lines.append(r"(?:[^\n]*\n)*?" if line == "…" else rf"\s*{words}\s*?\n")
    return "".join(lines)


def test_every_command_of_the_page_does_what_it_shows(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADE_ENGINE_DATABASE_URL", database_url)
    monkeypatch.setenv("TRADE_ENGINE_REDIS_URL", redis_url)
    steps = shown()
    assert len(steps) >= 10
    with engine_process(log=tmp_path / "engine.log") as engine:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TRADE_ENGINE_TARGET": engine.target,
            "COLUMNS": "200",
        }
        for command, output in steps:
            done = subprocess.run(
                shlex.split(command.replace(ADDRESS, engine.target)),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}"
            assert re.fullmatch(pattern(output), done.stdout), f"{command}\n{done.stdout}"


def told_past_the_engine() -> str:
    """What the page says of a halt that passes an engine by."""
    [block] = re.findall(r"^```text\n(engine .*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(block)


def test_past_an_engine_whose_stores_were_flags_a_halt_finds_them(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    flags = ("--database-url", database_url, "--redis-url", redis_url)
    nothing = {name: each for name, each in os.environ.items() if "TRADE_ENGINE" not in name}
    with engine_process(*flags, log=tmp_path / "engine.log") as engine:
        pid = engine.process.pid

        def halted(wanted: str) -> None:
            asked = [
                *[
                    "trade-engine",
                    "halt",
                    "--all",
                    "--reason",
                    "stuck",
                    "--within",
                    "30",
                    "--target",
                ]
            ]
            done = subprocess.run(
                [*asked, engine.target],
                env={**nothing, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                     "COLUMNS": "400"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )  # fmt: skip
            assert done.returncode == 1, done.stdout
            assert re.fullmatch(pattern(wanted), done.stdout), done.stdout

        page = told_past_the_engine().replace(ADDRESS, engine.target).replace("4711", str(pid))
        engine.process.send_signal(signal.SIGSTOP)
        halted(re.sub("(?<=: )UNAVAILABLE: .*", "…", page))
        engine.kill()
        halted(page.replace(f"process {pid}", f"process {pid}, which ended by force"))
