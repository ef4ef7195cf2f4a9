"""Logs come out in one form, whoever writes them; each case in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, sys
import structlog
from trade_engine.logs import configure_logs

configure_logs(*sys.argv[1:])
configure_logs(*sys.argv[1:])
ours = logging.getLogger("trade_engine.embedded.supervisor")
ours.debug("not at this level")
ours.info("a detail")
ours.warning("%s serves again (process %d)", "Valkey", 42)
ours.warning("%s", "too many", "arguments")
try:
    raise ValueError("broken")
except ValueError:
    logging.getLogger("asyncio").exception("a task failed")
logging.getLogger("somebody").info("chatter of a library")
structlog.get_logger().warning("gate_closed", account_id="default")
"""


def logged(level: str, form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, level, form], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def lines(level: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(level, "json").splitlines() if line[:1] == "{"]


def test_the_standard_library_s_records_become_lines_of_ours() -> None:
    found = lines("info")
    assert [(line["level"], line["event"]) for line in found] == [
        ("info", "a detail"),
        ("warning", "Valkey serves again (process 42)"),
        ("error", "a task failed"),
        ("warning", "gate_closed"),
    ]
    assert [line.get("logger") for line in found] == [
        "trade_engine.embedded.supervisor",
        "trade_engine.embedded.supervisor",
        "asyncio",
        None,
    ]
    assert all(line["timestamp"].endswith("Z") for line in found)
    assert "ValueError: broken" in found[2]["exception"]


def test_the_level_holds_for_them_too() -> None:
    assert [line["event"] for line in lines("error")] == ["a task failed"]
    assert "not at this level" in [line["event"] for line in lines("debug")]


@pytest.mark.parametrize(
    "shown",
    ["Valkey serves again (process 42) [trade_engine.embedded.supervisor]", "ValueError: broken"],
)
def test_people_read_them_as_lines(shown: str) -> None:
    assert shown in logged("info", "console")


def test_a_commands_standard_output_is_its_answer_alone() -> None:
    program = (
        "import structlog\n"
        "from trade_engine.cli import main\n"
        "main(['--version'])\n"
        "structlog.get_logger().warning('record_call_too_slow')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("trade-engine ")
    assert len(done.stdout.splitlines()) == 1
    assert "record_call_too_slow" in done.stderr


def ran(program: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, however it ended."""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


def test_a_standard_error_that_was_put_in_place_for_a_while_is_not_kept() -> None:
    program = (
        "import io, sys, structlog\n"
        "from trade_engine.logs import configure_logs\n"
        "kept, sys.stderr = sys.stderr, io.StringIO()\n"
        "configure_logs('info', 'json')\n"
        "structlog.get_logger().info('aside')\n"
        "sys.stderr.close()\n"
        "sys.stderr = kept\n"
        "structlog.get_logger().info('heard')\n"
    )
    done = ran(program)
    assert (done.returncode, done.stdout) == (0, "")
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["heard"]


def test_a_standard_error_that_takes_nothing_stops_nobody() -> None:
    program = (
        "import os, structlog\n"
        "from trade_engine.logs import configure_logs\n"
        "configure_logs('info', 'json')\n"
        "unread, ours = os.pipe()\n"
        "os.close(unread)\n"
        "os.dup2(ours, 2)\n"
        "for _ in range(3):\n"
        "    structlog.get_logger().error('lost')\n"
        "print('went on')\n"
    )
    done = ran(program)
    assert done.stdout == "went on\n"
