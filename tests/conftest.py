"""What every test can use."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import pytest

from trade_engine.storage.postgres.migrate import migrate

pytest_plugins = ["tests.stores"]

# No test measures time: a machine under load is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def template_migrator() -> Callable[[str], None]:
    """Every test's database has the engine's tables."""
    return migrate
