"""Pages of lists, as AIP-158 has them: an opaque token that says where the next page begins.

A token is tied to the list, the account and the filter that it was made with, so that one given
with another filter is refused instead of skipping items in silence. It holds a position in the
record, nothing secret, and is checked like any other field.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import orjson

from trade_engine.api.reading import Reader
from trade_engine.domain.errors import InvalidField

Item = TypeVar("Item")

SIZE_DEFAULT = 50
SIZE_MAX = 200
TOKEN_CHARS_MAX = 512
DIGEST_BYTES = 9


class PagedRequest(Protocol):
    """What every request of a list has."""

    @property
    def page_size(self) -> int:
        """How many items at most."""

    @property
    def page_token(self) -> str:
        """Where the page begins."""


class Page:
    """One page of a list: reads the request's fields, and cuts what was found to size.

    position is where the page begins (after this item); None on the first. fetch is how many items
    to ask for: one more than the page has, to know whether another follows.
    """

    def __init__(
        self,
        fields: Reader,
        request: PagedRequest,
        filter_: tuple[object, ...],
        position_types: tuple[type, ...],
    ) -> None:
        """`filter_` is all that the pages of one list have in common, the list's name included."""
        self._digest = _digest(filter_)
        self._types = list(position_types)
        self._size = fields.read(_size, request.page_size, "page_size")
        self.position = fields.read(self._position, request.page_token, "page_token")

    @property
    def fetch(self) -> int:
        """How many items to ask the record for."""
        return self._size + 1

    def cut(
        self, items: list[Item], position_of: Callable[[Item], tuple[str | int, ...]]
    ) -> tuple[list[Item], str]:
        """Return the page's items, and the token of the next page (empty on the last)."""
        if len(items) <= self._size:
            return items, ""
        shown = items[: self._size]
        raw = self._digest + orjson.dumps(position_of(shown[-1]))
        return shown, base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def _position(self, given: str, field: str) -> tuple[Any, ...] | None:
        if not given:
            return None
        position = self._decoded(given)
        if not isinstance(position, list) or [type(part) for part in position] != self._types:
            allowed = "the next_page_token of the same list with the same filter"
            raise InvalidField(field, given, allowed)
        return tuple(position)

    def _decoded(self, given: str) -> object:
        """What the token holds; None when it is made up, or made with another filter."""
        if len(given) > TOKEN_CHARS_MAX:
            return None
        try:
            padded = given + "=" * (-len(given) % 4)
            raw = base64.b64decode(padded, altchars=b"-_", validate=True)
            if raw[:DIGEST_BYTES] != self._digest:
                return None
            position: object = orjson.loads(raw[DIGEST_BYTES:])
        except (binascii.Error, ValueError):
            return None
        return position


def _size(given: int, field: str) -> int:
    """0 means the default, and too many means the most there is."""
    if given < 0:
        raise InvalidField(field, str(given), "0 or more")
    return min(given, SIZE_MAX) or SIZE_DEFAULT


def _digest(filter_: tuple[object, ...]) -> bytes:
    joined = "\x00".join(map(str, filter_))
    return hashlib.sha256(joined.encode()).digest()[:DIGEST_BYTES]
