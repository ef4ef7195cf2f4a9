"""The files that travel with the package are found in a checkout and in a wheel's layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from trade_engine import resources


def layout(env_py: Path) -> None:
    env_py.parent.mkdir(parents=True)
    env_py.touch()


def test_migrations_beside_the_package_are_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "trade_engine")
    layout(tmp_path / "migrations" / "env.py")
    assert resources.migrations_dir() == tmp_path / "migrations"


def test_migrations_inside_the_package_are_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "trade_engine")
    layout(tmp_path / "migrations" / "env.py")
    layout(tmp_path / "trade_engine" / "migrations" / "env.py")
    assert resources.migrations_dir() == tmp_path / "trade_engine" / "migrations"


def test_a_folder_without_env_py_is_no_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "trade_engine")
    (tmp_path / "migrations").mkdir()
    with pytest.raises(FileNotFoundError, match="install trade-engine again"):
        resources.migrations_dir()


def test_the_demos_strategy_is_found_in_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "trade_engine")
    with pytest.raises(FileNotFoundError, match="install trade-engine again"):
        resources.examples_dir()
    layout(tmp_path / "examples" / "moving_average.py")
    assert resources.examples_dir() == tmp_path / "examples"
    layout(tmp_path / "trade_engine" / "examples" / "moving_average.py")
    assert resources.examples_dir() == tmp_path / "trade_engine" / "examples"
