"""What every test can use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trade_engine.storage.postgres.migrate import migrate

pytest_plugins = ["tests.stores"]


@pytest.fixture(scope="session")
def template_migrator() -> Callable[[str], None]:
    """Every test's database has the engine's tables."""
    return migrate
