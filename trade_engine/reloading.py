"""SIGHUP: the files are read again and put into force, as an update of the limits would be."""

from __future__ import annotations

import asyncio

import structlog

from trade_engine.config.rulebook import rulebook_texts
from trade_engine.config.settings import Settings
from trade_engine.domain.errors import EngineError
from trade_engine.execution.commands import UpdateLimitsCommand
from trade_engine.execution.engine import Engine
from trade_engine.execution.observer import UNOBSERVED, Alert, Observer, raise_alert

log = structlog.get_logger(__name__)


class Reloader:
    """Reads the files of the settings again when asked; one reload at a time.

    Whoever asks while one is under way may have changed a file that it has read: so it is followed
    by one more, for all who asked meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        replica_id: str,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._engine = engine
        self._replica_id = replica_id
        self._reload: asyncio.Task[None] | None = None
        self._once_more = False

    def ask(self) -> None:
        """Begin a reload, now or once the one under way ends: it never blocks, and never raises."""
        if self._reload is None or self._reload.done():
            self._reload = asyncio.create_task(self._run(), name="reload")
        else:
            self._once_more = True

    async def _run(self) -> None:
        """Reload until nobody asked meanwhile."""
        await self._reload_once()
        while self._once_more:
            self._once_more = False
            await self._reload_once()

    async def _reload_once(self) -> None:
        """Whatever is wrong with the files, the limits in force stay, and an alert says why."""
        try:
            await self._apply()
        except EngineError as error:
            raise_alert(self._observer, Alert.LIMITS_NOT_RELOADED, why=error.message)

    async def _apply(self) -> None:
        files = self._settings.limits_file, self._settings.instruments_file
        if not any(files):
            why = "the engine was started without files"
            raise_alert(self._observer, Alert.LIMITS_NOT_RELOADED, why=why)
            return
        limits_text, instruments_text = await asyncio.to_thread(rulebook_texts, *files)
        command = UpdateLimitsCommand(
            limits=limits_text,
            instruments=instruments_text,
            etag=(await self._engine.limits("")).change.etag,
            validate_only=False,
            reason="SIGHUP: the files were read again",
            operator=self._replica_id,
            request_id="",
        )
        updated = await self._engine.update_limits(command)
        log.info(
            "limits_reloaded",
            version=updated.change.rulebook.version,
            number=updated.change.number,
            differences=len(updated.differences),
        )
