"""Processor time of the parts: steadier than any rate on a machine that others use as well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def seconds(parts: Mapping[str, int]) -> dict[str, float]:
    """The processor time so far of each part: a process (its pid) with all that it started.

    Nothing where there is no /proc.
    """
    if not (PROC / "self/stat").exists():
        return {}
    ticks: dict[int, int] = {}
    started_by: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal() and (fields := _fields(folder)):
            pid, parent = int(folder.name), int(fields[1])
            started_by.setdefault(parent, []).append(pid)
            ticks[pid] = sum(map(int, fields[11:15]))  # its own, and of children that ended
    return {
        name: sum(ticks.get(each, 0) for each in _family(pid, started_by)) / _TICKS_PER_S
        for name, pid in parts.items()
    }


def _fields(folder: Path) -> list[str]:
    """What follows the name in `stat`: its state, its parent, …; empty once it has ended."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _family(pid: int, started_by: Mapping[int, list[int]]) -> list[int]:
    found = [pid]
    for each in found:
        found += started_by.get(each, ())
    return found
