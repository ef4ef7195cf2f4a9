# ruff: noqa: S608 - SQL is put together from this file's own words; values are parameters
"""The paper venue's log and books, in a schema of its own: the port `brokers.paper_books`.

They are the venue's word, not the record's: the engine never reads these tables, and a checker
holds one against the other. Documents are kept whole, beside the columns that find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import orjson
from psycopg.errors import UniqueViolation

from trade_engine.storage.postgres.commit import TRUE
from trade_engine.storage.postgres.connection import Connection
from trade_engine.storage.postgres.database import Database
from trade_engine.storage.postgres.parameters import BigintArray, JsonArray, Parameter, TextArray
from trade_engine.storage.postgres.prepared import run
from trade_engine.storage.postgres.queries import Query, fetch

Doc = dict[str, Any]
Recorded = Literal["DONE", "FENCED", "DUPLICATE"]

# The row's lock makes a taker wait for a write under way, and a writer for a taker.
_TAKE_OVER = """
    INSERT INTO paper.accounts AS books (account_id, token, holder, last_seq, acknowledged_seq)
    VALUES (%s::text, 1, %s::text, 0, 0)
    ON CONFLICT (account_id) DO UPDATE SET token = books.token + 1, holder = excluded.holder
    RETURNING token, last_seq, acknowledged_seq"""

_TAKE_BACK = """
    UPDATE paper.accounts SET token = token + 1
     WHERE account_id = %s::text AND holder = %s::text
    RETURNING token, last_seq, acknowledged_seq"""

_OPEN = """
    SELECT "order" AS doc FROM paper.orders WHERE account_id = %s::text AND is_open
     ORDER BY priority"""

_UNACKNOWLEDGED = """
    SELECT report AS doc FROM paper.reports WHERE account_id = %s::text AND seq > %s::bigint
     ORDER BY seq"""

# Everything below happens only if the token is the account's.
_CLAIM = """books AS (
        UPDATE paper.accounts
           SET last_seq = greatest(last_seq, %(last_seq)s::bigint),
               acknowledged_seq = greatest(acknowledged_seq, %(acknowledged_seq)s::bigint)
         WHERE account_id = %(account_id)s::text AND token = %(token)s::bigint
        RETURNING 1)"""

_WRITES = {
    "messages": """
        INSERT INTO paper.messages (account_id, seq, cl_ord_id, message)
        SELECT %(account_id)s::text, m.*
          FROM unnest(%(message_seqs)s, %(message_ids)s, %(messages)s) AS m
         WHERE EXISTS (SELECT FROM books)""",
    "new_orders": """
        INSERT INTO paper.orders (account_id, cl_ord_id, priority, is_open, "order")
        SELECT %(account_id)s::text, o.id, o.priority, (o.doc->>'is_open')::boolean, o.doc
          FROM unnest(%(new_ids)s, %(new_priorities)s, %(new_orders)s) AS o (id, priority, doc)
         WHERE EXISTS (SELECT FROM books)""",
    "orders": """
        UPDATE paper.orders SET is_open = (o.doc->>'is_open')::boolean, "order" = o.doc
          FROM unnest(%(order_ids)s, %(orders)s) AS o (id, doc)
         WHERE account_id = %(account_id)s::text AND cl_ord_id = o.id
           AND EXISTS (SELECT FROM books)""",
    "reports": """
        INSERT INTO paper.reports (account_id, seq, cl_ord_id, exec_id, report)
        SELECT %(account_id)s::text, r.*
          FROM unnest(%(report_seqs)s, %(report_ids)s, %(exec_ids)s, %(reports)s) AS r
         WHERE EXISTS (SELECT FROM books)""",
}

_ACKNOWLEDGE = """
    UPDATE paper.accounts SET acknowledged_seq = greatest(acknowledged_seq, %s::bigint)
     WHERE account_id = %s::text AND token = %s::bigint"""

_ORDERS = """
    SELECT cl_ord_id, "order" AS doc, coalesce(
           (SELECT json_agg(r.report ORDER BY r.seq) FROM paper.reports r
             WHERE r.account_id = o.account_id AND r.cl_ord_id = o.cl_ord_id), '[]') AS reports
      FROM paper.orders o WHERE account_id = %s::text"""

_FIND = _ORDERS + " AND cl_ord_id = ANY (%s)"

_RESTING = _ORDERS + " AND is_open ORDER BY priority"

# The newest report that is too old bounds the rest: found from the end, without reading them all.
_REPORTS_SINCE = """
    SELECT report AS doc FROM paper.reports WHERE account_id = %s::text AND seq > coalesce((
           SELECT seq FROM paper.reports
            WHERE account_id = %s::text AND (report->>'transact_time_ns')::bigint < %s::bigint
            ORDER BY seq DESC LIMIT 1), 0)
     ORDER BY seq"""

_POSITIONS = """
    SELECT "order"->>'symbol' AS symbol, sum(("order"->>'cum_qty')::numeric
           * CASE "order"->>'side' WHEN 'BUY' THEN 1 ELSE -1 END)::text AS quantity
      FROM paper.orders WHERE account_id = %s::text GROUP BY 1"""


_DUPLICATES = frozenset({"orders_pkey", "reports_account_id_exec_id_key"})
"""A copy of an order: one that has closed repeats its reports before its own row is looked at."""


class PaperVenueBooks:
    """The books on one database; what each method promises stands at the port."""

    def __init__(self, database: Database, *, limit_s: float = 5.0) -> None:
        self._database = database
        self._limit_s = limit_s

    async def take_over(
        self, account_id: str, holder: str, *, only_if_held: bool = False
    ) -> Doc | None:
        """Become the account's only writer, and read where it stands, in one transaction."""
        claim = Query(_TAKE_BACK if only_if_held else _TAKE_OVER, (account_id, holder))

        async def take(connection: Connection) -> Doc | None:
            await connection.execute("BEGIN")
            books = next(iter(await fetch(connection, claim)), None)
            if books is not None:
                seq = str(books.pop("acknowledged_seq"))
                orders = await fetch(connection, Query(_OPEN, (account_id,)))
                reports = await fetch(connection, Query(_UNACKNOWLEDGED, (account_id, seq)))
                books["orders"] = [row["doc"] for row in orders]
                books["unacknowledged"] = [row["doc"] for row in reports]
            await connection.execute("COMMIT")
            return books

        return await self._database.call("take the paper venue's books over", self._limit_s, take)

    async def record(
        self,
        account_id: str,
        token: int,
        *,
        messages: Sequence[Doc],
        new_orders: Sequence[Doc],
        orders: Sequence[Doc],
        reports: Sequence[Doc],
        last_seq: int,
        acknowledged_seq: int,
    ) -> Recorded:
        """Write what one batch of arrivals, or one round of matching, caused: all or nothing."""
        parameters: dict[str, Parameter] = {
            "account_id": account_id,
            "token": str(token),
            "last_seq": str(last_seq),
            "acknowledged_seq": str(acknowledged_seq),
        }
        if messages:
            parameters["message_seqs"] = _numbers(messages, "seq")
            parameters["message_ids"] = _texts(messages, "cl_ord_id")
            parameters["messages"] = _documents(messages)
        if new_orders:
            parameters["new_ids"] = _texts(new_orders, "cl_ord_id")
            parameters["new_priorities"] = _numbers(new_orders, "priority")
            parameters["new_orders"] = _documents(new_orders)
        if orders:
            parameters["order_ids"] = _texts(orders, "cl_ord_id")
            parameters["orders"] = _documents(orders)
        if reports:
            parameters["report_seqs"] = _numbers(reports, "seq")
            parameters["report_ids"] = _texts(reports, "cl_ord_id")
            parameters["exec_ids"] = _texts(reports, "exec_id")
            parameters["reports"] = _documents(reports)
        statement = _record(tuple(part for part in _WRITES if part in parameters))

        async def write(connection: Connection) -> Recorded:
            try:
                result = await run(connection, statement, parameters)
            except UniqueViolation as error:
                if new_orders and error.diag.constraint_name in _DUPLICATES:
                    return "DUPLICATE"
                raise
            return "DONE" if result.get_value(0, 0) == TRUE else "FENCED"

        return await self._database.call("write the paper venue's books", self._limit_s, write)

    async def acknowledge(self, account_id: str, token: int, seq: int) -> None:
        """Remember that the engine booked every report up to seq; a lower one changes nothing."""

        async def write(connection: Connection) -> None:
            await connection.execute(_ACKNOWLEDGE, (str(seq), account_id, str(token)), prepare=True)

        await self._database.call("acknowledge paper reports", self._limit_s, write)

    async def find(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, Doc]:
        """Read orders with their reports, open or closed, by ClOrdID; unknown ones are absent."""
        wanted = (account_id, TextArray(each.encode() for each in cl_ord_ids))
        query = Query(_FIND, wanted, planned_anew=True)

        return {row["cl_ord_id"]: _with_reports(row) for row in await self._read(query)}

    async def open_orders(self, account_id: str) -> list[Doc]:
        """Read the open orders, each with its `reports`, by priority."""
        query = Query(_RESTING, (account_id,), planned_anew=True)
        return [_with_reports(row) for row in await self._read(query)]

    async def reports_since(self, account_id: str, since_ns: int) -> list[Doc]:
        """Read the reports of a transact_time_ns of since_ns or later, in order of seq."""
        wanted = (account_id, account_id, str(since_ns))
        query = Query(_REPORTS_SINCE, wanted, planned_anew=True)
        return [row["doc"] for row in await self._read(query)]

    async def positions(self, account_id: str) -> dict[str, str]:
        """Add up what was filled by symbol: bought less sold, as decimal strings."""
        found = await self._read(Query(_POSITIONS, (account_id,), planned_anew=True))
        return {row["symbol"]: row["quantity"] for row in found}

    async def _read(self, query: Query) -> list[Doc]:
        return await self._database.call(
            "read the paper venue's books",
            self._limit_s,
            lambda connection: fetch(connection, query),
        )


@cache
def _record(parts: tuple[str, ...]) -> str:
    """The statement for a write of these parts."""
    writes = [f"to_{part} AS ({_WRITES[part]})" for part in parts]
    return f"WITH {', '.join([_CLAIM, *writes])} SELECT EXISTS (SELECT FROM books)"


def _with_reports(row: Doc) -> Doc:
    return {**row["doc"], "reports": row["reports"]}


def _documents(docs: Sequence[Doc]) -> JsonArray:
    return JsonArray(map(orjson.dumps, docs))


def _texts(docs: Sequence[Doc], name: str) -> TextArray:
    return TextArray(doc[name].encode() for doc in docs)


def _numbers(docs: Sequence[Doc], name: str) -> BigintArray:
    return BigintArray.of(doc[name] for doc in docs)
