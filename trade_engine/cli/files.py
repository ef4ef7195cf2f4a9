"""Reading what people give: JSON from a file or from standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import IO, Any

import typer


def read_objects(path: str) -> Iterator[dict[str, Any]]:
    """Yield JSON objects: one, an array of them, or one a line; "-" is standard input.

    Lines are read as they come, so that a pipe may stay open.

    Raises:
        typer.BadParameter: the file cannot be read, or holds something else.
    """
    if path == "-":
        yield from _objects(sys.stdin, "standard input")
        return
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  the name is the user's
            yield from _objects(file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error


def _objects(file: IO[str], name: str) -> Iterator[dict[str, Any]]:
    first = next((line for line in file if line.strip()), "")
    if not first:
        raise typer.BadParameter(f"{name} is empty: a JSON object, an array or JSON lines")
    try:
        document = json.loads(first)
    except json.JSONDecodeError:
        yield from _items(_parsed(first + file.read(), name), name)
        return
    yield from _items(document, name)
    for line in file:
        if line.strip():
            yield from _items(_parsed(line, name), name)


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{name} is not JSON: {error}") from error


def _items(document: Any, name: str) -> Iterator[dict[str, Any]]:
    for item in document if isinstance(document, list) else [document]:
        if not isinstance(item, dict):
            raise typer.BadParameter(f"{name}: a JSON object was expected, got {item!r}")
        yield item
