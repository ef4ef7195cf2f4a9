"""What happens in a run: all of it follows from the seed, and nothing else.

The same seed gives the same load and the same faults at the same moments; how they interleave is
the machine's. Times are in seconds from the start of the load.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from itertools import product

from tests.faults.limits import BASE, NARROW, Values, drawn
from tests.faults.market import RESTING, SYMBOLS
from tests.faults.points import ACTIONS, POINTS

ACCOUNTS = ("default", "second")
STRATEGIES = ("s0", "s1", "s2", "s3")

SCOPES = ("GLOBAL", "ACCOUNT:default", "ACCOUNT:second", "STRATEGY:s1", "SYMBOL:IBM", "SYMBOL:MSFT")

LOAD_S = 2.5
LIMITS, HALTS = 3, 5
"""The numbers of the invariants about limits and halts."""
SIGNALS = 2000

POINT_FAULTS = tuple(f"{action} {point}" for action, point in product(ACTIONS, POINTS))
SELDOM = ("9-cancel", "9-send", "9-replace", "9-broker-books", "10-take-report", "10-acknowledge")
"""Steps that only the sender comes by, and not in every run: they are planned twice as often."""
RARE = ("9-replace", "10-acknowledge")
"""Those of them that a third of the runs comes by: they are planned four times as often."""
PLANNED_POINTS = POINT_FAULTS + tuple(
    name
    for steps in (SELDOM, RARE, RARE)
    for name in POINT_FAULTS
    if name.rpartition(" ")[2] in steps
)
CLOCK_FAULTS = ("engine clock +1h", "engine clock -1h")
PROCESS_FAULTS = (
    "engine kill",
    "engine stop",
    "engine stop past its lease",
    "engine terminate",
    *CLOCK_FAULTS,
)
POSTGRES_FAULTS = (
    "postgres stop",
    "postgres kill",
    "postgres immediate shutdown",
    "postgres backend kill",
    "postgres sessions terminated",
    "postgres disk full",
)
REDIS_FAULTS = (
    "redis stop",
    "redis kill",
    "redis FLUSHALL",
    "redis SCRIPT FLUSH",
    "redis key lost",
)
PROXY_FAULTS = tuple(
    f"{store} proxy {how}"
    for store, how in product(
        ("postgres", "redis"),
        ("delay", "cut", "black hole", "cut at byte", "lose reply", "lose reply in silence"),
    )
)
OTHER_FAULTS = PROCESS_FAULTS + POSTGRES_FAULTS + REDIS_FAULTS + PROXY_FAULTS
ALL_FAULTS = POINT_FAULTS + OTHER_FAULTS


@dataclass(frozen=True)
class Fault:
    """One fault: when, what, to which replica, how long, and a number for what needs one.

    amount: the passing of a point, or the byte to cut at.
    """

    at_s: float
    name: str
    replica: int
    lasts_s: float
    amount: int


@dataclass(frozen=True)
class Signal:
    """One signal of the load; again: how often it is sent once more after its answer."""

    signal_id: str
    account_id: str
    strategy_id: str
    symbol: str
    buy: bool
    target: float
    again: int
    cancel: bool


@dataclass(frozen=True)
class Halt:
    """An operator's halt, and when it is taken back. scope as the record writes it."""

    at_s: float
    scope: str
    mode: str
    cancel_open_orders: bool
    holds_s: float
    replica: int


@dataclass(frozen=True)
class LimitsChange:
    """New limits in place of those in force."""

    at_s: float
    values: Values


@dataclass(frozen=True)
class Plan:
    """A run.

    limits are those at the start. quote_size is of every quote, without limit when empty. hostile
    is how often each thing goes wrong at the venue. reconnect_s says of each subscriber of an
    account how long it stays before it comes again elsewhere. load_s is how long the load lasts at
    least: it goes on until the last halt, while faults are to happen, and until so many
    replacements were approved. workers strategies rest for pace_s between two signals.
    """

    seed: int
    replicas: int
    lease_ttl_ms: int
    paper: dict[str, str]
    faults: list[Fault]
    signals: list[Signal]
    halts: list[Halt]
    limits: Values = field(default_factory=lambda: dict(BASE))
    changes: list[LimitsChange] = field(default_factory=list)
    quote_size: str = ""
    hostile: float = 0.0
    reconnect_s: list[float] = field(default_factory=list)
    load_s: float = LOAD_S
    replacements: int = 0
    workers: int = 10
    pace_s: float = 0.02


def plan_of(seed: int, *, faultless: bool = False) -> Plan:
    """The run of a seed."""
    chance = random.Random(seed)
    replicas = chance.choice((1, 2, 2, 3))
    return Plan(
        seed=seed,
        replicas=replicas,
        # A quarter with the product's own lease; the others lose less time to a killed sender's.
        lease_ttl_ms=5000 if chance.random() < 0.25 else 1500,
        paper={
            "PAPER_SEED": str(chance.randrange(2**31)),
            "PAPER_LATENCY_MS": str(chance.choice((0, 20, 60))),
            "PAPER_COMMISSION_PER_SHARE": "0.013",
            "PAPER_COMMISSION_BPS": chance.choice(("0", "0.7")),
            "PAPER_COMMISSION_MIN": chance.choice(("0", "1")),
            "PAPER_REJECT_PROBABILITY": "0.03",
            "PAPER_GAP_PROBABILITY": "0.3",
            "PAPER_GAP_BPS": "60",
            "PAPER_DAY_END_S": "none",
        },
        faults=[] if faultless else _faults(chance, seed, replicas),
        signals=[_signal(chance, number) for number in range(SIGNALS)],
        halts=_halts(chance, replicas),
        limits=drawn(chance),
        changes=[LimitsChange(chance.uniform(0.3, LOAD_S - 0.3), drawn(chance)) for _ in range(2)],
        quote_size=chance.choice(("", "", "120")),
        hostile=0.06 if chance.random() < 0.25 and not faultless else 0.0,
        reconnect_s=[chance.uniform(0.2, 0.8) for _ in range(2)],
    )


def halt_race_of(seed: int, halts: int) -> Plan:
    """So many halts against three replicas under as much load as they take, and no fault."""
    chance = random.Random(seed)
    plan = plan_of(seed, faultless=True)
    every_s = 0.25
    return replace(
        plan,
        replicas=3,
        signals=[_signal(chance, number) for number in range(200 * halts)],
        halts=[
            Halt(
                at_s=0.3 + number * every_s,
                scope=chance.choice(SCOPES),
                mode="HALTED",
                cancel_open_orders=chance.random() < 0.5,
                holds_s=chance.uniform(0.05, 0.15),
                replica=chance.randrange(3),
            )
            for number in range(halts)
        ],
        limits=dict(BASE),
        changes=[],
        quote_size="",
        load_s=0.0,
        workers=24,
        pace_s=0.0,
    )


def plant_plan_of(seed: int, invariant: int, *, hostile: bool, replacements: int) -> Plan:
    """A run without faults that shows a planted bug: busy, and with what it takes to show."""
    plan = plan_of(seed, faultless=True)
    plan = replace(plan, replicas=2, lease_ttl_ms=5000, replacements=replacements)
    if hostile:
        return replace(plan, hostile=0.3)
    if invariant == LIMITS:
        return replace(plan, limits=BASE | NARROW)
    if invariant == HALTS:
        halts = [
            Halt(at_s=0.3 + number * 0.4, scope="GLOBAL", mode=mode, cancel_open_orders=False,
                 holds_s=0.3, replica=0)
            for number, mode in enumerate(("HALTED", "REDUCE_ONLY") * 4)
        ]  # fmt: skip
        return replace(plan, limits=dict(BASE), changes=[], halts=halts, load_s=0.0)
    return plan


def faults_of(seed: int) -> list[str]:
    """Six at points and two others: runs of consecutive seeds meet each equally often."""
    return [
        family[(seed * share + number) * 11 % len(family)]
        for family, share in ((PLANNED_POINTS, 6), (OTHER_FAULTS, 2))
        for number in range(share)
    ]


def _faults(chance: random.Random, seed: int, replicas: int) -> list[Fault]:
    found = [
        Fault(
            at_s=chance.uniform(0.1, LOAD_S - 0.6),
            name=name,
            replica=chance.randrange(replicas),
            lasts_s=chance.uniform(0.2, 1.2),
            amount=_amount(chance, name),
        )
        for name in faults_of(seed)
    ]
    return sorted(found, key=lambda fault: fault.at_s)


def _amount(chance: random.Random, name: str) -> int:
    """At which passing, or after how many bytes; what few come by, the broker's, at the first."""
    if name not in POINT_FAULTS:
        return chance.randint(1, 20_000)
    step = name.split(" ")[2]
    return 1 if step.startswith(("9-", "10-")) else chance.randint(1, 4)


def _signal(chance: random.Random, number: int) -> Signal:
    up = chance.random() < 0.5 if number % 5 == 0 else number // 30 % 2 == 0
    signal = Signal(
        signal_id=f"load-{number}",
        account_id=ACCOUNTS[0] if chance.random() < 0.7 else ACCOUNTS[1],
        strategy_id=chance.choice(STRATEGIES),
        symbol=chance.choice((*SYMBOLS, RESTING)),
        buy=up,
        target=chance.choice((5_000.0, 12_000.0, 20_000.0)) * (1 if up else chance.choice((-1, 0))),
        again=chance.choice((0, 0, 0, 0, 1, 2)),
        cancel=chance.random() < 0.4,
    )
    return _resting(chance, signal) if signal.symbol == RESTING else signal


def _resting(chance: random.Random, signal: Signal) -> Signal:
    """Where orders wait, two strategies keep changing their minds, one on each side."""
    buy = chance.random() < 0.5
    target = chance.choice((2_500.0, 4_500.0, 6_500.0, 8_500.0))
    return replace(
        signal,
        strategy_id=STRATEGIES[0] if buy else STRATEGIES[1],
        buy=buy,
        target=target if buy else -target,
        cancel=signal.cancel and chance.random() < 0.2,
    )


def _halts(chance: random.Random, replicas: int) -> list[Halt]:
    found = []
    at_s = chance.uniform(0.3, 0.8)
    while at_s < LOAD_S - 0.4:
        holds_s = chance.uniform(0.1, 0.4)
        found.append(
            Halt(
                at_s=at_s,
                scope=chance.choice(SCOPES),
                mode=chance.choice(("HALTED", "HALTED", "REDUCE_ONLY")),
                cancel_open_orders=chance.random() < 0.4,
                holds_s=holds_s,
                replica=chance.randrange(replicas),
            )
        )
        at_s += holds_s + chance.uniform(0.2, 0.6)
    return found
