"""Addresses: where the engine may listen, and store URLs with their passwords struck out."""

from __future__ import annotations

import ipaddress
import os
import re

SOCKET_PATH_BYTES_MAX = 107
PORT_MAX = 65_535
STRUCK_OUT = "***"

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]+\]|[^:\[\]]+):(?P<port>[0-9]{1,5})")
_SECRET_PARAMETER = re.compile(
    r"([\w-]*(?:password|passwd|secret|token)[\w-]*=)[^&\s]*", re.IGNORECASE
)

LISTEN_ALLOWED = "a loopback address with a port, such as 127.0.0.1:50051, or unix:PATH"
LISTEN_BEYOND = (
    f"{LISTEN_ALLOWED}: listening beyond this machine needs TLS and authentication, which this "
    "engine does not have yet; put it behind a proxy that has both"
)
LOOPBACK_ALLOWED = "a loopback address with a port, such as 127.0.0.1:9464"


def checked_listen(address: str) -> str:
    """Hold an address to what only this machine can reach: loopback TCP, or a Unix socket.

    Raises:
        ValueError: it is neither; the text says what is allowed, and why.
    """
    if not address.startswith("unix:"):
        return checked_loopback(address, LISTEN_ALLOWED, LISTEN_BEYOND)
    path = address.removeprefix("unix:")
    if path.startswith("//") and not path.startswith("///"):
        raise ValueError("unix:PATH, or unix:///PATH with three slashes")
    length = len(os.fsencode(path.removeprefix("//")))
    if not 0 < length <= SOCKET_PATH_BYTES_MAX:
        raise ValueError(f"unix:PATH with a path of 1 to {SOCKET_PATH_BYTES_MAX} bytes")
    return address


def checked_loopback(
    address: str, allowed: str = LOOPBACK_ALLOWED, beyond: str = LOOPBACK_ALLOWED
) -> str:
    """Hold an address to a loopback host and a port (0: any free one).

    Raises:
        ValueError: with the text `allowed`, or `beyond` where the host is not loopback.
    """
    found = _HOST_AND_PORT.fullmatch(address)
    if not found or int(found["port"]) > PORT_MAX:
        raise ValueError(allowed)
    host = found["host"].strip("[]")
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback:
        raise ValueError(beyond)
    return address


def redacted_url(url: str) -> str:
    """The URL with every password in it struck out, at the risk of striking out too much."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return STRUCK_OUT
    secret = _SECRET_PARAMETER.search(rest)
    if secret and "@" in rest[secret.start() :]:
        return f"{scheme}://{STRUCK_OUT}"  # is the @ in the parameter, or that in a password?
    # The last @ of all: one inside a badly quoted password must not end it.
    user_info, at, host = rest.rpartition("@")
    user, colon, _ = user_info.partition(":")
    host = _SECRET_PARAMETER.sub(rf"\g<1>{STRUCK_OUT}", host)
    return f"{scheme}://{user}{colon}{STRUCK_OUT if colon else ''}{at}{host}"
