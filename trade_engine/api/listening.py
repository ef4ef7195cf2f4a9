"""Where the server may listen, and why it cannot."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from urllib.parse import urlsplit

from trade_engine.domain.errors import EngineError


class CannotListen(EngineError):
    """The address cannot be listened on; the message fits on one line and says what to do."""

    reason = "CANNOT_LISTEN"


def checked_address(address: str) -> str:
    """Hold an address to what may be listened on without TLS and authentication.

    Takes `HOST:PORT`, `[IPV6]:PORT` and `unix:PATH`; port 0 lets the system choose.

    Raises:
        CannotListen: no such address, or one that others than this machine can reach.
    """
    if address.startswith("unix:") and len(address) > len("unix:"):
        return address
    host, _ = _host_and_port(address)
    if not _is_loopback(host):
        raise CannotListen(
            f"cannot listen on {address}: this release has no TLS and no authentication, so it "
            "listens on this machine only. Use 127.0.0.1:PORT, [::1]:PORT or unix:PATH.",
            address=address,
        )
    return address


def check_free(address: str, setting: str = "--listen") -> None:
    """See that nobody listens there yet, before anything is started for it.

    gRPC would find out too, but late, and not at all on a Unix socket, which it takes over.

    Raises:
        CannotListen: somebody does, or the address is none of this machine's.
    """
    try:
        if address.startswith("unix:"):
            _require_nobody_answers(address.removeprefix("unix:"))
        else:
            _try_to_bind(address)
    except OSError as error:
        raise _cannot(address, (error.strerror or str(error)).lower(), setting) from None


def bind_failure(address: str) -> CannotListen:
    """Find out why an address could not be bound; gRPC itself does not tell."""
    try:
        check_free(address)
    except CannotListen as found:
        return found
    return _cannot(address, "the socket cannot be made", "--listen")


def _cannot(address: str, cause: str, setting: str) -> CannotListen:
    return CannotListen(
        f"cannot listen on {address}: {cause}. Stop what listens there (another engine?), or "
        f"choose another address with {setting}.",
        address=address,
    )


def _try_to_bind(address: str) -> None:
    host, port = _host_and_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: what a former one left in TIME_WAIT is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _require_nobody_answers(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return  # there is none, or what a former engine left
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise CannotListen(
            f"cannot listen on {address!r}: it is not HOST:PORT, [IPV6]:PORT or unix:PATH.",
            address=address,
        )
    return host, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
