"""The record of what operators stopped: port `ControlStore`."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from trade_engine.domain.account import scope_state_from_json, scope_state_json
from trade_engine.domain.trading_state import Scope, ScopeState
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.parameters import JsonText
from trade_engine.storage.postgres.queries import Query, fetch

_READ = Query("SELECT scope, state, reason, operator, set_at_ns FROM trading_controls", ())

_WRITE = """
    WITH given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(%s)
            AS g (scope text, state text, reason text, operator text, set_at_ns bigint)
    ), removed AS (
        DELETE FROM trading_controls AS there USING given
         WHERE there.scope = given.scope AND given.state = 'ACTIVE'
           AND there.set_at_ns <= given.set_at_ns
    )
    INSERT INTO trading_controls (scope, state, reason, operator, set_at_ns)
    SELECT scope, state, reason, operator, set_at_ns FROM given WHERE state <> 'ACTIVE'
    ON CONFLICT (scope) DO UPDATE
       SET state = excluded.state, reason = excluded.reason, operator = excluded.operator,
           set_at_ns = excluded.set_at_ns
     WHERE NOT (trading_controls.state = 'HALTED' AND excluded.state = 'REDUCE_ONLY')
       AND NOT (trading_controls.state = excluded.state
                AND trading_controls.set_at_ns > excluded.set_at_ns)"""


class PostgresControls:
    """Operators' trading states on one database."""

    def __init__(self, database: Database, *, limit_s: float = 2.0) -> None:
        self._database = database
        self._limit_s = limit_s

    async def controls(self) -> dict[Scope, ScopeState]:
        """Every scope that an operator ever set and did not set back to ACTIVE."""
        found = await self._database.call(
            "read trading states", self._limit_s, lambda connection: fetch(connection, _READ)
        )
        states = map(scope_state_from_json, found)
        return {state.scope: state for state in states}

    async def put_controls(self, states: Sequence[ScopeState]) -> None:
        """Write trading states; of one scope, the last holds.

        One never takes the place of a stricter one, nor of a later one alike. ACTIVE, which a
        resume sets, removes its scope if that was set before it.
        """
        last = {state.scope: scope_state_json(state) for state in states}
        document = JsonText(orjson.dumps(list(last.values())))

        async def put(connection: Connection) -> None:
            await connection.execute(_WRITE, (document,), prepare=True)

        await self._database.call("write trading states", self._limit_s, put)
