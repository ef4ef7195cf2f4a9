"""The Lua scripts: each one operation, each harmless when run twice.

They travel in the package as `lua/*.lua` and are called by their SHA-1; a server that restarted or
failed over has forgotten them, and `RedisLink` then loads them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from trade_engine.storage.redis.encoding import FOLD_VERSION, Argument


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the digest that Redis knows it by."""

    name: str
    text: str
    sha: str

    def call(self, keys: list[str], args: list[Argument]) -> tuple[Argument, ...]:
        """The command that runs it."""
        return ("EVALSHA", self.sha, str(len(keys)), *keys, *args)


def _read(name: str) -> Script:
    text = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
    # The digest is Redis's name for a script, not a safeguard.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SNAPSHOT = _read("snapshot")
APPLY = _read("apply")
REPLACE = _read("replace")
PUT_CONTROLS = _read("put_controls")
PUT_QUOTES = _read("put_quotes")
JOIN = _read("join")

ALL = (SNAPSHOT, APPLY, REPLACE, PUT_CONTROLS, PUT_QUOTES, JOIN)


def digest(scripts: Iterable[Script], fold_version: int) -> str:
    """Name scripts, in whatever order, and the fold that they work on."""
    named = sorted(f"{each.name}={each.sha}" for each in scripts)
    text = " ".join((f"fold={fold_version}", *named))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


DIGEST = digest(ALL, FOLD_VERSION)
"""Engines that differ in it do not mix unless told to."""
