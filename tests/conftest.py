"""What every test can use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import structlog

from trade_engine.storage.postgres.migrate import migrate

pytest_plugins = ["tests.stores"]

# No test measures time: a machine under load is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What a command configures in this process ends with its test."""
    level, handlers = logging.getLogger("trade_engine").level, list(logging.root.handlers)
    was_configured = structlog.is_configured()
    yield
    logging.getLogger("trade_engine").setLevel(level)
    logging.root.handlers[:] = [each for each in logging.root.handlers if each in handlers]
    if not was_configured:
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def template_migrator() -> Callable[[str], None]:
    """Every test's database has the engine's tables."""
    return migrate
