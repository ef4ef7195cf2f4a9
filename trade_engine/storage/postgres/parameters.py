"""Parameters in the server's own forms: JSON as it stands, and arrays in binary.

psycopg's own dumping of a list inspects every element, which on the path to capital costs more
than the write. These are told by their class what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import ClassVar, NamedTuple

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

_ARRAY_HEADER = Struct(">iiIii")  # dimensions, flags, element's oid, length, first index
_LENGTH = Struct(">i")
_BIGINT = Struct(">q")

_UNKNOWN, _BYTEA, _JSON = 0, 17, 114


class JsonText(bytes):
    """JSON in UTF-8, handed over as it is."""

    __slots__ = ()


class Array(list[bytes]):
    """An array whose elements are in their binary form already."""

    __slots__ = ()
    oid: ClassVar[int]
    element_oid: ClassVar[int]

    def packed(self) -> bytes:
        """The array in binary."""
        parts = [_ARRAY_HEADER.pack(1, 0, self.element_oid, len(self), 1)]
        for element in self:
            parts.append(_LENGTH.pack(len(element)))
            parts.append(element)
        return b"".join(parts)


class TextArray(Array):
    """`text[]`, each element in UTF-8."""

    __slots__ = ()
    oid, element_oid = 1009, 25


class JsonArray(Array):
    """`json[]`, each element in UTF-8."""

    __slots__ = ()
    oid, element_oid = 199, _JSON


class ByteaArray(Array):
    """`bytea[]`."""

    __slots__ = ()
    oid, element_oid = 1001, _BYTEA


class BigintArray(Array):
    """`bigint[]`."""

    __slots__ = ()
    oid, element_oid = 1016, 20

    @classmethod
    def of(cls, numbers: Iterable[int]) -> BigintArray:
        """Take numbers of at most 64 bits."""
        return cls(map(_BIGINT.pack, numbers))


Parameter = str | bytes | JsonText | Array


class WireForm(NamedTuple):
    """A parameter as libpq takes it."""

    oid: int
    format: Format
    data: bytes


def wire_form(parameter: Parameter) -> WireForm:
    """Write a parameter for libpq: a string takes the type that the statement casts it to."""
    if isinstance(parameter, str):
        return WireForm(_UNKNOWN, Format.TEXT, parameter.encode())
    if isinstance(parameter, Array):
        return WireForm(parameter.oid, Format.BINARY, parameter.packed())
    if isinstance(parameter, JsonText):
        return WireForm(_JSON, Format.TEXT, parameter)
    return WireForm(_BYTEA, Format.BINARY, parameter)


def register(context: AdaptContext) -> None:
    """Teach psycopg's cursors these parameters."""
    adapters = context.adapters
    assert adapters is not None  # noqa: S101 - None is for objects without a connection
    adapters.register_dumper(JsonText, _JsonTextDumper)
    for array in (TextArray, JsonArray, ByteaArray, BigintArray):
        name = f"_{array.__name__}Dumper"
        adapters.register_dumper(array, type(name, (_ArrayDumper,), {"oid": array.oid}))


class _JsonTextDumper(Dumper):
    oid = _JSON

    def dump(self, obj: bytes) -> bytes:
        return obj


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.packed()
