"""Descriptors that belong to the engine's own process and to no fork of it.

A lock, or the write end of a guard's pipe, says "the engine lives". Every descriptor is closed on
exec; but a worker that is forked without exec would keep a copy, and keep up the word of a dead
engine. So a fork closes them first of all.
"""

from __future__ import annotations

import os

_open: dict[int, EngineOnlyFd] = {}


class EngineOnlyFd:
    """An open descriptor that no fork of this process inherits."""

    def __init__(self, fd: int) -> None:
        """Take over `fd`."""
        self.fd = fd
        _open[id(self)] = self

    def close(self) -> None:
        """Close it, once: the number may be somebody else's the next moment."""
        if _open.pop(id(self), None) is not None:
            os.close(self.fd)


def _close_in_fork() -> None:
    for held in tuple(_open.values()):
        held.close()


os.register_at_fork(after_in_child=_close_in_fork)
