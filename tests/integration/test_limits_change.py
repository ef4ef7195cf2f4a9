"""The limits change: at one sequence of each journal, on every replica, and only as was asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from tests.support.audited import audit
from tests.support.trading import ACCOUNT, eventually, patient_plan, replicas, signal, until_quiet
from trade_engine.config.rulebook_text import TomlRulebooks
from trade_engine.domain.decision import Outcome, Reason
from trade_engine.domain.errors import EngineError, InvalidField, InvalidFields, StoreUnavailable
from trade_engine.domain.journal import EntryKind
from trade_engine.domain.limits import LIMIT_NAMES, QUOTE_AGE, SLIPPAGE
from trade_engine.domain.limits_change import FileText
from trade_engine.domain.rulebook import Rulebook
from trade_engine.execution.commands import (
    EtagMismatch,
    LimitsUpdated,
    RequestIdConflict,
    UpdateLimitsCommand,
)
from trade_engine.execution.limits_at_start import LimitsDiffer, OnOtherLimits
from trade_engine.wiring import Plan, Running, running

pytestmark = pytest.mark.stores

SET = (QUOTE_AGE.name, SLIPPAGE.name)
WAIVED = [name for name in LIMIT_NAMES if name not in SET]
INSTRUMENTS = """
[instruments.AAPL]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
[instruments.IBM]
tick = 0.01
lot = 1
currency = "USD"
asset_class = "equity"
"""


def limits(*more: str, **numbers: int | str) -> str:
    """A limits file with wide limits, and others by name."""
    wide = {"order_notional_max": 1_000_000, "symbol_position_notional_max": 10_000_000}
    lines = [f"{name} = {value}" for name, value in (wide | numbers).items()]
    given = {line.split(" = ")[0] for line in (*lines, *more)}
    waived = [name for name in WAIVED if name not in given]
    return "\n".join(
        [
            f'[accounts.{ACCOUNT}]\ncurrency = "USD"\nopening_cash = 1000000\nbroker = "paper"',
            "[limits]",
            f"acknowledged_unlimited = {orjson.dumps(waived).decode()}",
            "quote_age_ms_max = 600000",
            "slippage_bps_max = 50",
            *lines,
            *more,
        ]
    )


def rules(text: str, instruments: str = INSTRUMENTS) -> Rulebook:
    base = Rulebook("", None, {}, {})  # type: ignore[arg-type]
    return TomlRulebooks().read(FileText("l.toml", text), FileText("i.toml", instruments), base)


async def update(run: Running, text: str, **changes: object) -> LimitsUpdated:
    """Replace the limits in force, by this replica."""
    command = UpdateLimitsCommand(
        limits=FileText("limits.toml", text),
        instruments=None,
        etag=(await run.engine.limits("")).change.etag,
        validate_only=False,
        reason="a test",
        operator="ann",
        request_id="",
    )
    return await run.engine.update_limits(replace(command, **changes))  # type: ignore[arg-type]


async def limits_entries(run: Running) -> list[tuple[int, dict[str, object]]]:
    """The changes in the journal, with their sequences."""
    kinds = frozenset({EntryKind.LIMITS_CHANGED})
    entries = await run.engine.queries.entries(ACCOUNT, 0, 100, kinds)
    return [(each.sequence, orjson.loads(each.payload)) for each in entries]


async def test_under_load_on_three_replicas_they_change_at_one_sequence(
    database_url: str, redis_url: str
) -> None:
    tight, wide = limits(order_notional_max=2_000), limits(order_notional_max=20_000)
    async with replicas(3, database_url, redis_url, rules(wide)) as runs:
        sending = True

        async def load(run: Running, strategy_id: str) -> None:
            target = 3_000
            while sending:
                await run.engine.submit(signal(target, strategy_id=strategy_id))
                await asyncio.sleep(0)

        loads = [
            asyncio.create_task(load(run, f"s{number}-{n}"))
            for number, run in enumerate(runs)
            for n in range(4)
        ]
        changes = []
        for turn in range(6):
            await asyncio.sleep(0.1)
            changes.append(await update(runs[turn % 3], wide if turn % 2 else tight))
        sending = False
        await asyncio.gather(*loads)
        await until_quiet(runs[0])

        entries = await limits_entries(runs[0])
        assert [sequence for sequence, _ in entries[1:]] == [
            each.sequences[ACCOUNT] for each in changes
        ]
        decided = await decided_under(runs[0])
        in_force, sequences, versions = "", dict(entries), set()
        for sequence, version in decided:
            started = [at for at in sequences if at < sequence]
            in_force = str(sequences[max(started)]["version"])
            assert version == in_force, f"decision {sequence} was made by {version}"
            versions.add(version)
        assert len(versions) == 2, "there were decisions under both"
        await audit(runs[2])


async def decided_under(run: Running) -> list[tuple[int, str]]:
    """Every decision's sequence and the version that it names."""
    found: list[tuple[int, str]] = []
    kinds = frozenset({EntryKind.DECISION})
    while entries := await run.engine.queries.entries(
        ACCOUNT, found[-1][0] if found else 0, 500, kinds
    ):
        found += [
            (each.sequence, orjson.loads(each.payload)["decision"]["limits_version"])
            for each in entries
        ]
    return found


async def test_what_was_decided_before_and_after_an_update(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url, rules(limits())) as runs:
        before = (await runs[1].engine.submit(signal(15_000))).decision
        done = await update(runs[0], limits(order_notional_max=1_000))
        after = (await runs[1].engine.submit(signal(30_000))).decision
        assert (before.outcome, after.outcome) == (Outcome.APPROVED, Outcome.REJECTED)
        assert after.reasons == [Reason.ORDER_NOTIONAL_LIMIT]
        assert after.limits_version == done.change.rulebook.version != before.limits_version
        assert before.sequence < done.sequences[ACCOUNT] < after.sequence
        [check] = [each for each in after.checks if each.name == "order_notional"]
        assert check.source == "limits.toml:default"
        _, (_, payload) = await limits_entries(runs[0])
        told = payload["change"]
        assert isinstance(told, dict)
        assert (told["operator"], told["reason"], told["number"]) == ("ann", "a test", 2)
        await until_quiet(runs[0])
        await audit(runs[1])


async def test_a_dry_run_tells_all_and_changes_nothing(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url, rules(limits())) as [run]:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        before = await limits_entries(run), await run.engine.limits("")
        text = limits(symbol_position_notional_max=9_000)
        told = await update(run, text, validate_only=True)
        [difference] = told.differences
        assert (difference.path, difference.before, difference.after) == (
            "limits.symbol_position_notional_max",
            "10000000",
            "9000",
        )
        [breach] = told.breaches
        assert (breach.limit_name, breach.scope) == ("symbol_position_notional_max", "symbol:AAPL")
        assert (breach.limit, breach.observed) == (9_000, 15_000)
        assert breach.source == "limits.toml:default"
        assert told.sequences == {}
        text = limits(open_orders_max=1, gross_exposure_max=9_000, leverage_max="0.01")
        told = await update(run, text, validate_only=True)
        assert [each.limit_name for each in told.breaches] == ["gross_exposure_max", "leverage_max"]
        assert told.breaches[0].observed == 15_000
        assert (await limits_entries(run), await run.engine.limits("")) == before


async def test_the_same_content_changes_nothing(database_url: str, redis_url: str) -> None:
    async with replicas(1, database_url, redis_url, rules(limits())) as [run]:
        done = await update(run, f"# again\n{limits()}")
        assert (done.differences, done.change.number) == ([], 1)
        assert len(await limits_entries(run)) == 1


async def test_an_update_of_limits_that_changed_meanwhile(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url, rules(limits())) as runs:
        etag = (await runs[0].engine.limits("")).change.etag
        texts = [limits(order_notional_max=number) for number in (1_000, 2_000)]
        answers = await asyncio.gather(
            *(update(run, text, etag=etag) for run, text in zip(runs, texts, strict=True)),
            return_exceptions=True,
        )
        [refused] = [each for each in answers if isinstance(each, EngineError)]
        assert isinstance(refused, EtagMismatch)
        with pytest.raises(EtagMismatch, match="changed meanwhile"):
            await update(runs[0], limits(order_notional_max=3_000), etag=etag)
        assert len(await limits_entries(runs[0])) == 2


async def test_a_request_that_comes_again_is_the_same_change(
    database_url: str, redis_url: str
) -> None:
    async with replicas(2, database_url, redis_url, rules(limits())) as runs:
        etag = (await runs[0].engine.limits("")).change.etag
        text = limits(order_notional_max=1_000)
        first = await update(runs[0], text, etag=etag, request_id="r-1")
        again = await update(runs[1], text, etag=etag, request_id="r-1")
        assert (again.change, again.differences) == (first.change, first.differences)
        assert again.sequences == first.sequences, "it is the same change"
        for other in ({"etag": first.change.etag}, {"limits": FileText("l", limits())}):
            with pytest.raises(RequestIdConflict):
                await update(runs[1], text, **{"etag": etag, "request_id": "r-1", **other})
        assert len(await limits_entries(runs[0])) == 2


async def test_others_go_on_where_a_replica_died_after_recording_a_change(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(2, database_url, redis_url, rules(limits())) as [dying, other]:
        with monkeypatch.context() as patched:

            async def killed(_change: object) -> None:
                raise StoreUnavailable("the process is gone")

            patched.setattr(dying.engine._limits, "_bring", killed)
            patched.setattr(dying.engine._limits, "_behind", lambda _: [])
            with pytest.raises(StoreUnavailable):
                await update(dying, limits(order_notional_max=1_000))

            async def brought() -> bool:
                return len(await limits_entries(other)) == 2

            await eventually(brought)
        refused = (await other.engine.submit(signal(15_000))).decision
        assert refused.reasons == [Reason.ORDER_NOTIONAL_LIMIT]


async def test_a_throttle_keeps_its_count_over_a_change(database_url: str, redis_url: str) -> None:
    slow = "strategy_signal_rate = { count = 1, per_ms = 60000, burst = 4 }"
    slower = "strategy_signal_rate = { count = 1, per_ms = 60000, burst = 2 }"
    async with replicas(2, database_url, redis_url, rules(limits(slow))) as runs:

        async def outcome(run: Running) -> tuple[Reason, ...]:
            return tuple((await run.engine.submit(signal(1_500))).decision.reasons)

        throttled = (Reason.STRATEGY_THROTTLED,)
        for run in (*runs, runs[0]):
            assert throttled[0] not in await outcome(run)
        await update(runs[0], limits(slow, order_notional_max=500_000))
        for run in runs:
            assert throttled[0] not in await outcome(run), "two of five are left"
        assert throttled[0] in await outcome(runs[1])
        await update(runs[0], limits(slower))
        assert throttled[0] in await outcome(runs[1])
        await audit(runs[0])


@pytest.mark.parametrize(
    ("text", "instruments", "words"),
    [
        (limits().replace(ACCOUNT, "other"), None, "accounts of the running engine"),
        (limits().replace('"paper"', '"peper"'), None, "allowed is paper"),
        (limits(), INSTRUMENTS.split("[instruments.IBM]", maxsplit=1)[0], "restrict them first"),
        (limits(), INSTRUMENTS + "multiplier = 50", "keep their multiplier"),
        ("[limits]\nslipage_bps_max = 5", None, "did you mean slippage_bps_max"),
    ],
)
async def test_what_cannot_change_while_it_runs(
    database_url: str, redis_url: str, text: str, instruments: str | None, words: str
) -> None:
    async with replicas(1, database_url, redis_url, rules(limits())) as [run]:
        given = FileText("i.toml", instruments) if instruments else None
        with pytest.raises((InvalidField, InvalidFields), match=words):
            await update(run, text, instruments=given)
        assert len(await limits_entries(run)) == 1


async def test_an_instrument_leaves_once_it_is_restricted_and_not_in_use(
    database_url: str, redis_url: str
) -> None:
    async with replicas(1, database_url, redis_url, rules(limits())) as [run]:
        await run.engine.submit(signal(15_000))
        await until_quiet(run)
        restricted = INSTRUMENTS.replace('"equity"', '"equity"\nrestricted = true')
        await update(run, limits(), instruments=FileText("i", restricted))
        head, _, ibm = restricted.partition("[instruments.IBM]")
        with pytest.raises(InvalidField, match="AAPL"):
            await update(run, limits(), instruments=FileText("i", f"[instruments.IBM]{ibm}"))
        await update(run, limits(), instruments=FileText("i", head))
        refused = (await run.engine.submit(signal(15_000, symbol="IBM"))).decision
        assert Reason.INSTRUMENT_UNKNOWN in refused.reasons


async def test_an_engine_with_other_files_does_not_join(database_url: str, redis_url: str) -> None:
    other = rules(limits(order_notional_max=5))

    def plan(otherwise: OnOtherLimits) -> Plan:
        return patient_plan(database_url, redis_url, other, "replica-9", otherwise)

    async with replicas(1, database_url, redis_url, rules(limits())) as [run]:
        with pytest.raises(LimitsDiffer) as caught:
            async with running(plan(OnOtherLimits.REFUSE)):
                pass
        message = caught.value.message
        assert "\n" not in message
        assert f"version {other.version}, but version {run.engine.rulebook.version} is" in message
        assert "limits.order_notional_max: 1000000 in force, 5 here" in message
        assert "--apply-limits" in message
        async with running(plan(OnOtherLimits.TAKE)) as taking:
            assert taking.engine.rulebook.version == run.engine.rulebook.version
            approved = (await taking.engine.submit(signal(15_000))).decision
            assert approved.outcome is Outcome.APPROVED
        async with running(plan(OnOtherLimits.APPLY)) as applying:
            refused = (await run.engine.submit(signal(30_000))).decision
            assert refused.reasons == [Reason.ORDER_NOTIONAL_LIMIT]
            assert refused.limits_version == other.version
            status = (await applying.engine.status(ACCOUNT)).accounts[0]
            assert status.limits_version == other.version
        _, (_, payload) = await limits_entries(run)
        change = payload["change"]
        assert isinstance(change, dict)
        assert (change["operator"], change["reason"]) == (
            "replica-9",
            "started with --apply-limits",
        )
        await until_quiet(run)
        await audit(run)


async def test_limits_changed_are_in_force_after_a_restart(
    database_url: str, redis_url: str
) -> None:
    first, second = limits(), limits(order_notional_max=1_000)
    async with replicas(1, database_url, redis_url, rules(first)) as [run]:
        await update(run, second)
    async with replicas(1, database_url, redis_url, rules(second)) as [run]:
        assert (await run.engine.submit(signal(15_000))).decision.reasons == [
            Reason.ORDER_NOTIONAL_LIMIT
        ]
        assert len(await limits_entries(run)) == 2
    with pytest.raises(LimitsDiffer):
        async with replicas(1, database_url, redis_url, rules(first)):
            pass
