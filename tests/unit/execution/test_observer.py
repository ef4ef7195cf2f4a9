"""Whatever the path to capital logs at error is an alert: named, counted and documented."""

from __future__ import annotations

import ast
from pathlib import Path

import trade_engine.execution
from trade_engine.execution import observer

FOLDER = Path(trade_engine.execution.__file__).parent


def loud_calls(file: Path) -> list[str]:
    """Where a file logs at error or above."""
    return [
        f"{file.name}:{node.lineno}"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"error", "exception", "critical", "fatal"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"log", "_log"}
    ]


def test_errors_are_logged_by_raising_an_alert_only() -> None:
    own = Path(observer.__file__)
    assert len(loud_calls(own)) == 1
    assert [call for file in FOLDER.glob("*.py") if file != own for call in loud_calls(file)] == []


def test_every_alert_is_raised_somewhere() -> None:
    code = "".join(
        file.read_text() for file in FOLDER.parent.rglob("*.py") if file.name != "observer.py"
    )
    assert [alert for alert in observer.Alert if f"Alert.{alert.name}" not in code] == []
