"""`RiskStore` on Redis: the fold, the throttles, quotes and controls, in one round trip each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from trade_engine.domain.account import AccountState
from trade_engine.domain.clock import NS_PER_S
from trade_engine.domain.errors import StoreUnavailable
from trade_engine.domain.market import Quote
from trade_engine.domain.trading_state import Scope, ScopeState
from trade_engine.execution.ports import (
    Commit,
    Snapshot,
    SnapshotRequest,
    ThrottleRequest,
    ThrottleVerdict,
)
from trade_engine.risk.throttles import emission_ns
from trade_engine.storage.redis import encoding, keys, quotes, scripts
from trade_engine.storage.redis.connect import Command, RedisLink
from trade_engine.storage.redis.encoding import Argument

_CONTROLS: Command = ("HGETALL", keys.CONTROLS)


class RedisRiskStore:
    """The risk store of one replica; replica_id keeps its batches apart from others'.

    Every method raises `StoreUnavailable` when Redis does not answer within the link's time limit.
    """

    def __init__(self, link: RedisLink, replica_id: str) -> None:
        self._link = link
        self._replica_id = replica_id
        self._unfit: StoreUnavailable | None = None

    async def snapshot(self, request: SnapshotRequest) -> Snapshot:
        """Fold, verdicts, quotes and controls.

        A fold that cannot be read counts as none: it is laid anew.

        Raises:
            InvalidField: a rate is beyond what throttles can hold.
            StoreUnavailable: also when the last `check` found Redis unfit.
        """
        if self._unfit is not None:
            raise StoreUnavailable(self._unfit.message, **self._unfit.metadata)
        commands: list[Command] = [self._ask(request), _CONTROLS]
        if request.symbols or request.earlier:
            commands.append(quotes.asking(request.symbols, request.earlier))
        answer, control_rows, *quote_values = await self._link.run(*commands)
        values: list[bytes | None] = quote_values[0] if quote_values else []
        current = len(request.symbols)
        *head_and_fold, verdicts = answer
        epoch, sequence, state = _read_fold(request.account_id, *head_and_fold)
        return Snapshot(
            epoch=epoch,
            sequence=sequence,
            state=state,
            verdicts=_read_verdicts(request.throttles, verdicts),
            quotes=quotes.answered(values[:current]),
            controls=encoding.read_controls(control_rows),
            earlier=quotes.answered_earlier(values[current:]),
        )

    def _ask(self, request: SnapshotRequest) -> Command:
        account_id = request.account_id
        asked = [
            keys.state(account_id),
            keys.batch(account_id, self._replica_id),
        ]
        names, specs, indexes = _compress(request.throttles)
        asked += [keys.throttle(account_id, name) for name in names]
        now_s, now_n = divmod(request.now_ns, NS_PER_S)
        args: list[Argument] = [
            request.epoch,
            f"{request.known_sequence} {request.known_hash.hex()}",
            str(now_s),
            str(now_n),
            request.batch_id,
            str(keys.BATCH_MS),
            "1" if request.peek else "0",
            str(len(specs) // 3),
            *specs,
            *indexes,
        ]
        return scripts.SNAPSHOT.call(asked, args)

    async def apply(self, commit: Commit) -> bool:
        """Bring the fold to the commit's sequence; True as well when it stands there already."""
        fields, gone = encoding.commit_fields(commit)
        return await self._yes(
            scripts.APPLY.call(
                [keys.state(commit.account_id)],
                [
                    commit.epoch,
                    f"{commit.expected_sequence} {commit.entries[0].prev_hash.hex()}",
                    str(commit.sequence),
                    commit.head_hash.hex(),
                    str(len(fields)),
                    *fields,
                    *gone,
                ],
            )
        )

    async def replace(self, state: AccountState, *, force: bool = False) -> bool:
        """Lay the whole fold anew, unless one of the same epoch at a later sequence is there.

        force lays it anew all the same: what is there is of a timeline that the record lost.
        """
        key = keys.state(state.account_id)
        fields = [state.epoch, str(state.sequence), *encoding.fold_fields(state)]
        lost: list[Command] = [("DEL", key)] if force else []
        *_, laid = await self._link.run(*lost, scripts.REPLACE.call([key], fields))
        return bool(laid)

    async def controls(self) -> dict[Scope, ScopeState] | None:
        """The trading states that operators set; None when unknown."""
        (rows,) = await self._link.run(_CONTROLS)
        return encoding.read_controls(rows)

    async def put_controls(self, states: Sequence[ScopeState], *, complete: bool) -> None:
        """Write trading states (ACTIVE ones too); complete: these are all that the record knows.

        One never takes the place of a stricter one, but for ACTIVE, of what was set before it.
        While the set is not complete, it stays unknown whatever is written.
        """
        await self._link.run(
            scripts.PUT_CONTROLS.call(
                [keys.CONTROLS],
                [
                    "1" if complete else "0",
                    encoding.COMPLETE_FIELD,
                    *encoding.control_fields(states),
                ],
            )
        )

    async def damaged_controls(self) -> list[str]:
        """The fields of trading states that cannot be read: they keep all of them unknown."""
        (rows,) = await self._link.run(_CONTROLS)
        return encoding.damaged_controls(rows)

    async def drop_control(self, field: str) -> None:
        """Remove what stands under a field that names no scope."""
        await self._link.run(("HDEL", keys.CONTROLS, encoding.field_bytes(field)))

    async def check(self) -> None:
        """See that Redis evicts nothing: its policy can be changed, and a failover brings another.

        Raises:
            StoreUnavailable: it does, or does not answer. Snapshots are refused while it does.
        """
        try:
            await self._link.check_policy()
        except StoreUnavailable as error:
            if "maxmemory_policy" in error.metadata:
                self._unfit = error
            raise
        self._unfit = None

    async def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """The last quotes of these symbols; unknown ones are absent."""
        if not symbols:
            return {}
        (values,) = await self._link.run(quotes.asking(symbols))
        return quotes.answered(values)

    async def put_quotes(self, offered: Sequence[Quote], now_ns: int) -> None:
        """Remember quotes and tell every replica; older ones than the known are left out."""
        for command in quotes.offering(offered, now_ns, self._link.database):
            await self._link.run(command)

    async def _yes(self, command: Command) -> bool:
        (answer,) = await self._link.run(command)
        return bool(answer)


def _compress(
    requests: Sequence[ThrottleRequest],
) -> tuple[list[str], list[Argument], list[Argument]]:
    """Many requests are of few throttles: the names, the specs, and each request's spec.

    A spec is three arguments: which name (from 1), interval and tolerance in ns. A request that is
    for a message of the next one too is its spec's number below 0.
    """
    names: dict[str, int] = {}
    specs: list[Argument] = []
    known: dict[tuple[str, int], str] = {}
    indexes: list[Argument] = []
    for request in requests:
        # Rates are shared values of the limits in force: the object will do for its content.
        spec = (request.key, id(request.rate))
        index = known.get(spec)
        if index is None:
            interval_ns, tolerance_ns = emission_ns(request.rate)
            name = names.setdefault(request.key, len(names) + 1)
            specs += (str(name), str(interval_ns), str(tolerance_ns))
            index = known[spec] = str(len(known) + 1)
        indexes.append(f"-{index}" if request.with_next else index)
    return list(names), specs, indexes


def _read_fold(
    account_id: str, epoch: bytes | None, sequence: bytes | None, fold: list[bytes] | None
) -> tuple[str | None, int | None, AccountState | None]:
    if epoch is None or sequence is None:
        return None, None, None
    try:
        state = None if fold is None else encoding.read_fold(account_id, fold)
        return epoch.decode(), int(sequence), state
    except encoding.UNREADABLE:
        return None, None, None


def _read_verdicts(requests: Sequence[ThrottleRequest], answer: bytes) -> list[ThrottleVerdict]:
    return [
        _verdict(request.rate.burst + 1, number)
        for request, number in zip(requests, answer.split(), strict=True)
    ]


@lru_cache(maxsize=4096)
def _verdict(limit: int, number: bytes) -> ThrottleVerdict:
    """Read one number of the script's answer; most recur, so verdicts are shared."""
    left = int(number)
    return ThrottleVerdict(left >= 0, limit, max(left, 0), max(-left, 0))
