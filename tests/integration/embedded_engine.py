"""A program that owns embedded servers as the engine does, for the tests that kill it.

Run as `python embedded_engine.py DATA_DIR`. Prints one line of JSON when both servers serve, or
`{"error": …, "message": …}`. Then it obeys lines on standard input: `stop` ends it in an orderly
way, `fork` leaves a child that was forked without exec. On SIGINT it takes its time, as an engine
that drains does, prints whether both servers still run, and stops them.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from trade_engine.embedded import EmbeddedError, EmbeddedServers

DRAIN_S = 0.5


def main() -> int:
    said: list[str] = []
    try:
        servers = EmbeddedServers.start(Path(sys.argv[1]), say=said.append)
    except EmbeddedError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
        return 2
    facts = {
        "database_url": servers.database_url,
        "redis_url": servers.redis_url,
        "postgres_pid": servers.postgres_pid,
        "valkey_pid": servers.valkey_pid,
        "said": said,
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(json.dumps(facts), flush=True)
        for line in sys.stdin:
            if line.strip() == "stop":
                break
            if line.strip() == "fork" and os.fork() == 0:
                os.close(0)
                time.sleep(60)
                os._exit(0)
    except KeyboardInterrupt:
        time.sleep(DRAIN_S)
        alive = servers.postgres_pid is not None and servers.valkey_pid is not None
        unchanged = [servers.postgres_pid, servers.valkey_pid] == [
            facts["postgres_pid"],
            facts["valkey_pid"],
        ]
        print(json.dumps({"served_while_draining": alive and unchanged}), flush=True)
    servers.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
