"""The engine as the fault harness runs it: the whole program, its path announcing its points.

    python -m tests.faults.engine_main [--lease-ttl-ms N] [--plant NAME] [--hostile OFTEN SEED]
        SERVE_ARGUMENTS…

Standard input takes commands, one a line: `arm ACTION PASSES POINT…`, `disarm [POINT…]`, and
`clock SECONDS` (how far the wall clock of this process is off from now on). Standard output says
`POINT ACTION POINT…` just before the action happens. Everything else is the product's, unchanged.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time

_real_time_ns = time.time_ns
_off_ns = 0


def _jumping_time_ns() -> int:
    return _real_time_ns() + _off_ns


# Before the engine is imported: its wiring takes the clock as a value.
time.time_ns = _jumping_time_ns


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def _obey(armory: Armory) -> None:
    global _off_ns  # noqa: PLW0603  the clock of the process is one
    for line in sys.stdin:
        match line.split():
            case ["arm", action, passes, *point]:
                armory.arm(" ".join(point), action, int(passes))
            case ["disarm", *point]:
                armory.disarm(" ".join(point))
            case ["clock", seconds]:
                _off_ns = int(float(seconds) * 1e9)
            case _:
                _say(f"UNKNOWN COMMAND {line!r}")


from tests.faults.hostile_venue import HostileVenue  # noqa: E402
from tests.faults.plants import plant  # noqa: E402
from tests.faults.points import Armory, install  # noqa: E402
from trade_engine import wiring  # noqa: E402
from trade_engine.cli import main  # noqa: E402
from trade_engine.execution import order_router  # noqa: E402


def _take(arguments: list[str], flag: str, count: int = 1) -> list[str]:
    """The values of a flag, which goes; none when it is not there."""
    if flag not in arguments:
        return []
    at = arguments.index(flag)
    values = arguments[at + 1 : at + 1 + count]
    del arguments[at : at + 1 + count]
    return values


if __name__ == "__main__":
    words = sys.argv[1:]
    for ttl_ms in _take(words, "--lease-ttl-ms"):
        order_router.LEASE_TTL_MS = int(ttl_ms)
        order_router.RENEW_EVERY_S = int(ttl_ms) * 0.3 / 1000
    if hostile := _take(words, "--hostile", 2):
        often, seed = float(hostile[0]), int(hostile[1])
        vars(wiring)["PaperBroker"] = functools.partial(HostileVenue, often, seed)
    for planted in _take(words, "--plant"):
        plant(planted)
    armory = Armory(_say)
    install(armory)
    threading.Thread(target=_obey, args=(armory,), daemon=True).start()
    sys.exit(main(["serve", *words]))
