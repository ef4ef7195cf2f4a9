"""Run a server that binds every interface in a network namespace, and let this side reach it.

    venue_process.py PORT PROGRAM ARGUMENT…

Listens on this side's loopback, then moves to a namespace of its own, starts the program there and
carries each connection to PORT. Prints "ready LISTENING_PORT", or why not. Ends with its standard
input, and the program with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_PDEATHSIG = 1
START_S = 30.0
LIBC = ctypes.CDLL(None, use_errno=True)


def leave_network() -> None:
    user, group = os.geteuid(), os.getegid()
    if LIBC.unshare(CLONE_NEWNET if user == 0 else CLONE_NEWNET | CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
    if user != 0:  # root in there, so that the loopback may be brought up
        own = Path("/proc/self")
        (own / "setgroups").write_text("deny")
        (own / "uid_map").write_text(f"0 {user} 1")
        (own / "gid_map").write_text(f"0 {group} 1")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509  no thread
    )


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(listening: socket.socket, port: int, command: list[str]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    program = start(command)
    try:
        async with asyncio.timeout(START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    break
        server = await asyncio.start_server(connected, sock=listening)
        print("ready", listening.getsockname()[1], flush=True)
        async with server:
            await asyncio.to_thread(sys.stdin.buffer.read)
    finally:
        program.kill()
        program.wait()


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    try:
        leave_network()
    except (OSError, subprocess.SubprocessError) as error:
        print("not possible:", error, flush=True)
        return
    asyncio.run(serve(listening, int(sys.argv[1]), sys.argv[2:]))
    os._exit(0)  # connections that are still carried need no end of their own


main()
