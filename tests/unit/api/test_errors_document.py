"""docs/errors.md has every reason that the edge gives, with its code and its wait."""

from __future__ import annotations

import re
from pathlib import Path

import grpc

from trade_engine.api.errors import _TREATMENTS, Internal
from trade_engine.domain.errors import InvalidField, InvalidFields, NotFound

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "errors.md").read_text()
FOUND_KINDS = ("ACCOUNT", "DECISION", "DIFFERENCE", "ORDER")


def documented() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \| ([^|]*) \|", DOCUMENT, re.MULTILINE)
    return {reason: (code, wait) for reason, code, wait in rows}


def test_every_reason_is_documented_with_its_code_and_its_wait() -> None:
    given: dict[str, tuple[str, str]] = {Internal.reason: (grpc.StatusCode.INTERNAL.name, "")}
    for kind, how in _TREATMENTS.items():
        told = (how.code.name, f"{how.retry_ms} ms" if how.retry_ms else "")
        if kind is NotFound:
            given |= {f"{what}_NOT_FOUND": told for what in FOUND_KINDS}
        elif kind in (InvalidField, InvalidFields):
            given["INVALID_ARGUMENT_FIELDS"] = told
        else:
            given[kind.reason] = told
    assert documented() == given


def test_what_is_not_found_is_of_the_kinds_that_the_document_names() -> None:
    package = Path(__file__).resolve().parents[3] / "trade_engine"
    code = "".join(
        file.read_text()
        for folder in ("api", "execution")
        for file in (package / folder).glob("*.py")
    )
    kinds = {kind.upper() for kind in re.findall(r'NotFound\(\s*"(\w+)"', code)}
    assert kinds == set(FOUND_KINDS)
