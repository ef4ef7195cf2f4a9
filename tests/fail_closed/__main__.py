"""`make fail-closed`: every fault of docs/fail-closed.md against a real engine, with its times.

For each fault: break it, ask a signal after signal until the promised answer and the alert have
come, mend it, and ask on until an order is approved and sent again. The last line is JSON. Exit
code 1: an answer was not the promised one or later than the deadline and `OVER_S`, an alert did not
come, or the engine did not heal within `HEAL_S`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fail_closed.rows import APPROVED, Row, limits_missing, rows
from tests.fail_closed.stage import DEADLINE_S, Answer, Stage, staged
from tests.faults.servers import private_servers
from trade_engine.execution.observer import Alert
from trade_engine.v1 import order_pb2

OVER_S = 0.25
HEAL_S = 15.0
NOTICED_S = 15.0
"""How long a fault is held at most, for its answer and its alert to come."""
BETWEEN_S = 0.05
SETTLE_S = 2.0
"""Before the next fault: one within a second of the last is the same outage, alerted on once."""


@dataclass
class Measured:
    """A line of the table. over_s is of the latest answer; fault_s from the cause to the alert."""

    fault: str
    answer: str
    over_s: float = 0.0
    slowest_s: float = 0.0
    alert: str = ""
    alert_s: float | None = None
    heal_s: float | None = None
    wrong: str = ""


async def measure(stage: Stage, row: Row) -> Measured:
    """Break, watch, mend, watch."""
    await _until_sent(stage, row)
    await asyncio.sleep(SETTLE_S)
    before = await stage.alerts()
    answers: list[Answer] = []
    found = Measured(row.fault, "", alert=row.told)
    await row.breaks(stage)
    began = time.monotonic()
    while time.monotonic() - began < NOTICED_S:
        answers.append(await stage.ask(row.account_id))
        if found.alert_s is None and await _told(stage, row, before):
            found.alert_s = round(time.monotonic() - began, 2)
        if found.alert_s is not None and _is_promised(row, answers[-1]):
            break
        await asyncio.sleep(BETWEEN_S)
    await row.mends(stage)
    mended = time.monotonic()
    asked, stage.asked = stage.asked, set()
    answers += await asyncio.gather(*asked)
    if await _until_sent(stage, row):
        found.heal_s = round(time.monotonic() - mended, 2)
    if "clear" in row.settings:
        await row.settings["clear"](stage)
    _judge(row, answers, found)
    return found


async def _until_sent(stage: Stage, row: Row) -> bool:
    """Ask on until an order is approved and has reached its broker.

    One that could not leave in time is canceled by the engine: then the next one is asked for.
    """
    deadline = time.monotonic() + HEAL_S
    answer = None
    while time.monotonic() < deadline:
        answer = await stage.ask(row.account_id)
        while answer.word == APPROVED and time.monotonic() < deadline:
            order = await stage.order(answer.order_id, row.account_id)
            if order.delivery_state == order_pb2.DELIVERY_STATE_SENT:
                return True
            if order.ord_status == order_pb2.ORD_STATUS_CANCELED:
                break
            await asyncio.sleep(BETWEEN_S)
        await asyncio.sleep(BETWEEN_S)
    print(f"the last signal was told {answer}", file=sys.stderr)
    return False


async def _told(stage: Stage, row: Row, before: dict[str, float]) -> bool:
    return (await stage.alerts())[row.told] > before[row.told]


def _is_promised(row: Row, answer: Answer) -> bool:
    return not row.answers.isdisjoint(answer.word.split(", "))


def _judge(row: Row, answers: list[Answer], found: Measured) -> None:
    promised = [each for each in answers if _is_promised(row, each)]
    shown = {f"{each.code} {each.word}" for each in promised}
    found.answer = " or ".join(sorted(shown))
    found.slowest_s = round(max(each.seconds for each in answers), 2)
    found.over_s = round(max(each.over_s for each in answers), 3)
    first = next((at for at, each in enumerate(answers) if each in promised), len(answers))
    late = [each for each in answers[first:] if each not in promised]
    if not promised:
        found.wrong = f"was told {answers[-1].word}"
    elif not row.notices and len(promised) != len(answers):
        others = {each.word for each in answers if each not in promised}
        found.wrong = f"was also told {', '.join(sorted(others))}"
    elif any(each.word == APPROVED for each in late):
        found.wrong = "approved again while it lasted"
    elif found.over_s > OVER_S:
        found.wrong = f"an answer {found.over_s:.2f} s after its deadline"
    elif found.alert_s is None:
        found.wrong = f"no {row.told}"
    elif found.heal_s is None:
        found.wrong = f"not healed within {HEAL_S:g} s"


async def _limits_missing(stage: Stage) -> Measured:
    began = time.monotonic()
    code, line = await asyncio.to_thread(limits_missing, stage)
    name, took_s = Alert.NOT_STARTED.value, round(time.monotonic() - began, 2)
    well = code == 2 and name in line and "no-limits.toml" in line
    wrong = "" if well else f"exit code {code}: {line}"
    return Measured(
        "limits file missing", f"exit code {code}", 0.0, took_s, name, took_s, wrong=wrong
    )


async def run(only: str) -> list[Measured]:
    """Every row whose name contains `only`."""
    with private_servers() as servers, tempfile.TemporaryDirectory(prefix="te-closed-") as folder:
        async with staged(servers, Path(folder)) as stage:
            found: list[Measured] = []
            for row in (each for each in rows() if only in each.fault):
                if row.needs_tmpfs and not servers.on_tmpfs:
                    print(f"NOT RUN: {row.fault}: no tmpfs may be mounted here")
                    continue
                found.append(await measure(stage, row))
                print(_line(found[-1]), flush=True)
                if found[-1].wrong:
                    print(stage.log()[-3000:], file=sys.stderr)
            if only in "limits file missing":
                found.append(await _limits_missing(stage))
                print(_line(found[-1]), flush=True)
            return found


def _line(each: Measured) -> str:
    alert = f"`{each.alert}` after {each.alert_s} s" if each.alert else "none"
    heal = "–" if each.heal_s is None else f"{each.heal_s} s"
    wrong = f" **WRONG: {each.wrong}** |" if each.wrong else ""
    return (
        f"| {each.fault} | {each.answer} | {each.slowest_s} s | {each.over_s} s"
        f" | {alert} | {heal} |{wrong}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fail_closed")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    found = asyncio.run(run(parser.parse_args().only))
    wrong = [each for each in found if each.wrong]
    print(f"\n{len(found)} faults, each call with {DEADLINE_S:g} s to go, {len(wrong)} wrong")
    print(json.dumps([asdict(each) for each in found]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
