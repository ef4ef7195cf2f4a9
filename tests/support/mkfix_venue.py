"""Run mkfix as a venue that plays one macro to every order; by mkfix's own Python, not by ours.

    mkfix_venue.py VERSION PORT MACRO_FILE

Takes one client, ENGINE, as VENUE. mkfix binds every interface: run it where there is no other
(`venue_process`). The FIX port opens once the macro is armed.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkio.client import MkioClient  # type: ignore[import-not-found]

WEB_PORT = 8080
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
ANSWER_S = 20


async def set_up(version: str, port: int, macro: str) -> None:
    async with MkioClient(f"ws://127.0.0.1:{WEB_PORT}/ws", reconnect=False) as client:

        async def ask(service: str, op: str, **data: Any) -> None:
            if service == "fix_cmd":
                data["command"] = op
            reply = await asyncio.wait_for(client.send(service, data, op=op), ANSWER_S)
            if reply.get("type") == "error" or reply.get("problems"):
                raise RuntimeError(f"{op}: {reply}")

        session = {"session_id": "VENUE", "sender_comp_id": "VENUE", "target_comp_id": "ENGINE"}
        await ask("session_mgmt", "add", **session, fix_version=version, port=port)
        await ask("fix_cmd", "save_macro", name="venue", source=macro, side="market")
        await ask("fix_cmd", "reload_session", session_id="VENUE")
        await ask("fix_cmd", "arm_macro", name="venue", side="market", session="VENUE", seed=1)
        await ask("fix_cmd", "start_session", session_id="VENUE")


def main() -> None:
    version, port, macro = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    command = [sys.executable, "-m", "mkfix", "--host", "127.0.0.1", "-p", str(WEB_PORT)]
    with subprocess.Popen(
        [*command, "-d", str(macro.with_suffix(".db"))],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509  no thread
    ) as venue:
        assert venue.stdout is not None
        for line in venue.stdout:  # the banner comes once the port is bound
            sys.stderr.write(line.decode())
            if b"Press Ctrl+C" in line:
                break
        try:
            asyncio.run(set_up(version, port, macro.read_text()))
        except BaseException:
            venue.kill()
            raise
        venue.wait()


main()
