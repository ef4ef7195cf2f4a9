"""What the paper venue needs of a store: its own books, beside the engine's record.

The venue keeps its own log of what arrived and what it reported, so that a checker can hold both
sides against each other. Everything here is keyed by account, and an account's books have one
writer: the process that took them over last. `take_over` raises the account's token, and a write
under an older token changes nothing, whenever it reaches the store. So a writer that lost its
lease cannot trade, and a write whose outcome is unclear is settled by taking over again: what is
not in the books then never will be.

Documents are JSON objects; decimals in them are strings as `domain.money.text` writes them, times
are integers in ns. A store may keep a document whole, or in columns of the same names. Messages
and reports carry `seq`: one counter per account over both, from 1, dense, in the order in which
things happened at the venue.

**Message**, one per request that arrived, append-only: `seq`, `kind` (ORDER, CANCEL or REPLACE),
`cl_ord_id`, `received_at_ns`, `verdict` (TAKEN; DUPLICATE and CONFLICT: an order of this ClOrdID
was there, with the same or with other terms; NOT_OPEN: a cancel or a replace too late or of an
unknown order), `terms` (an ORDER's symbol, side, ord_type, time_in_force, order_qty, price; a
REPLACE's own cl_ord_id, order_qty, price; {} for a CANCEL).

**Order**, one per (account, `cl_ord_id`): the terms above, `broker_order_id`, `lot` and
`multiplier` (the instrument's when it became active), `priority` (order of arrival within the
account), `arrived_at_ns`, `due_at_ns` (when it becomes active; 0 once it is), `cancel_at_ns` (when
a cancel takes effect; 0 for none), `expires_at_ns` (0 for never), `cum_qty`, `leaves_qty`,
`commission` (what the fills cost, before minimum and rounding), `report_count`, `is_open` (a
boolean); and once requests to replace it have come: `requests` (their ClOrdIDs), `in_force` (the
order_qty and price that hold now), `replacing` and `replace_at_ns` (the one on its way).

**Report**, one per (account, `exec_id`), append-only: `seq`, and what `ExecutionReport.to_json()`
gives; in an answer to a request to replace, `request` (its ClOrdID) or `refused` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

Doc = dict[str, Any]

Recorded = Literal["DONE", "FENCED", "DUPLICATE"]
"""What became of a write. Nothing at all was written unless DONE.

FENCED: the token is not (any more) the account's. DUPLICATE: one of the new orders' ClOrdIDs is
in the account's books already.
"""


class PaperBooks(Protocol):
    """The venue's books. Every method raises `StoreUnavailable` when the store does not answer."""

    async def take_over(
        self, account_id: str, holder: str, *, only_if_held: bool = False
    ) -> Doc | None:
        """Become the account's only writer, and read where it stands, in one transaction.

        Waits for a write under way. An account never seen before starts with empty books. holder
        names the process and is remembered; with only_if_held nothing changes, and the answer is
        None, when the last to take over was somebody else.

        Returns:
            `token` (int, greater than any before), `last_seq` (int, the highest seq in the
            account's books, 0 if there is none), `orders` (the open ones, by priority),
            `unacknowledged` (reports past the acknowledged seq, in order of seq).
        """

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
        """Write what one batch of arrivals, or one round of matching, caused: all or nothing.

        new_orders must not be there yet; orders are there and get these values. last_seq is the
        highest seq among messages and reports. acknowledged_seq is taken over as `acknowledge`
        does. Raises `StoreUnavailable` where the outcome is unclear too.
        """

    async def acknowledge(self, account_id: str, token: int, seq: int) -> None:
        """Remember that the engine booked every report up to seq; a lower one changes nothing.

        Without effect under an older token.
        """

    async def find(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, Doc]:
        """Read orders, open or closed, by ClOrdID; unknown ones are absent. Needs no token.

        Each order document has one more member, `reports`: its reports in order of seq.
        """

    async def open_orders(self, account_id: str) -> list[Doc]:
        """Read the open orders, each with its `reports`, by priority. Needs no token."""

    async def reports_since(self, account_id: str, since_ns: int) -> list[Doc]:
        """Read the reports of a transact_time_ns of since_ns or later, in order of seq."""

    async def positions(self, account_id: str) -> dict[str, str]:
        """Add up what was filled by symbol: bought less sold, as decimal strings."""
