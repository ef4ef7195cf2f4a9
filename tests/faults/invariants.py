"""What must be true of every run, whatever happened in it: pure judgements of its evidence.

Each check yields its violations in words. They fold the evidence themselves, by rules as plain as
they can be, rather than trust the engine's own code: where that is used (reading a rulebook, the
canonical fold, the chain's hash) it is held against something that the engine did not compute.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from tests.faults.evidence import Evidence, Row
from trade_engine.api.answers import decision_message
from trade_engine.audit.verify import Verification
from trade_engine.domain.account import AccountState
from trade_engine.domain.decision import Decision
from trade_engine.domain.journal import ORDER_KINDS, EntryKind, JournalEntry
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.domain.rulebook import Rulebook
from trade_engine.domain.trading_state import Scope
from trade_engine.portfolio.ledger import book
from trade_engine.storage.redis import encoding, keys
from trade_engine.v1 import decision_pb2

Violations = Iterator[str]
ECONOMIC = ("symbol", "side", "ord_type", "time_in_force", "order_qty", "price")
NS = 1_000_000_000


def order_of(payload: Row) -> Row | None:
    """The order that a journal entry holds, if it is about one."""
    decision = payload.get("decision")
    found = decision["order"] if decision else payload.get("order")
    return found if isinstance(found, dict) else None


# ---- 1, 4, 5: the broker's own log ----------------------------------------------------------


def one_broker_order_per_signal(evidence: Evidence) -> Violations:
    """1: at most one broker order per signal, each an order of the record with the same terms."""
    orders = {(each["account_id"], each["order_id"]): each for each in evidence.orders}
    signals: Counter[tuple[str, str]] = Counter()
    for message in evidence.messages:
        if message["message"]["kind"] != "ORDER":
            continue
        key = message["account_id"], message["cl_ord_id"]
        order = orders.get(key)
        if order is None:
            yield f"the broker has order {key}, which the record has not"
            continue
        signals[order["account_id"], order["signal_id"]] += 1
        terms = message["message"]["terms"]
        for name in ECONOMIC:
            if _value(terms[name]) != _value(order[name]):
                yield f"order {key}: {name} is {terms[name]} there, {order[name]} in the record"
    for signal, count in signals.items():
        if count > 1:
            yield f"signal {signal} reached the broker {count} times"


def _value(written: Any) -> Any:
    try:
        return Decimal(str(written))
    except ArithmeticError:
        return written or None


def approved_first(evidence: Evidence) -> Violations:
    """4: no order without an approved decision before it, at the broker or in the journal."""
    approved: dict[tuple[str, str], int] = {}
    for account_id in evidence.account_ids:
        for entry, payload in evidence.payloads(account_id):
            order = order_of(payload)
            if order is None:
                continue
            key = account_id, order["order_id"]
            if entry["kind"] == EntryKind.DECISION:
                if payload["decision"]["outcome"] == "APPROVED":
                    approved.setdefault(key, entry["sequence"])
            elif key not in approved:
                yield f"{key} is in the journal at {entry['sequence']}, never approved before"
    for order in evidence.orders:
        if (order["account_id"], order["order_id"]) not in approved:
            yield f"order {order['order_id']} is in the record, and no decision approved it"
    for message in evidence.messages:
        key = message["account_id"], message["cl_ord_id"]
        if message["message"]["kind"] == "ORDER" and key not in approved:
            yield f"the broker has order {key}, which no decision approved"


def nothing_after_a_halt(evidence: Evidence) -> Violations:
    """5: after DRAINED nothing of the scope arrived until Resume; after IN_DOUBT only the named."""
    orders = {each["order_id"]: each for each in evidence.orders}
    resumes = evidence.events_of("resume")
    for halt in evidence.events_of("halt"):
        if halt["mode"] != "HALTED" or halt["result"] not in ("DRAINED", "IN_DOUBT"):
            continue
        over_ns = min(
            (each["asked_ns"] for each in resumes if each["scope"] == halt["scope"]
             and each["asked_ns"] > halt["asked_ns"]),
            default=evidence.taken_at_ns,
        )  # fmt: skip
        scope = Scope.parse(halt["scope"])
        for message in evidence.messages:
            if not halt["at_ns"] < message["arrived_at_ns"] < over_ns:
                continue
            if message["message"]["kind"] != "ORDER" or message["cl_ord_id"] in halt["in_doubt"]:
                continue
            order = orders.get(message["cl_ord_id"], {})
            strategy_id, symbol = (
                order.get("strategy_id", ""),
                message["message"]["terms"]["symbol"],
            )
            if scope.covers(message["account_id"], strategy_id, symbol):
                late_ms = (message["arrived_at_ns"] - halt["at_ns"]) / 1e6
                yield (
                    f"order {message['cl_ord_id']} arrived {late_ms:.1f} ms after the halt of"
                    f" {halt['scope']} had returned {halt['result']}"
                )


# ---- 2, 6: what clients were told -----------------------------------------------------------


def answers_stand(evidence: Evidence) -> Violations:
    """2: every acknowledged decision is in the record as acknowledged; repeats gave the same."""
    recorded = {}
    for account_id in evidence.account_ids:
        for entry, payload in evidence.payloads(account_id):
            if entry["kind"] == EntryKind.DECISION:
                decision = Decision.from_json(payload["decision"], entry["sequence"])
                recorded[account_id, decision.signal.signal_id] = decision
    told: dict[tuple[str, str], str] = {}
    for ack in evidence.events_of("ack"):
        key = ack["account_id"], ack["signal_id"]
        if told.setdefault(key, ack["decision"]) != ack["decision"]:
            yield f"signal {key} was answered in two ways"
    rows = {(each["account_id"], each["signal_id"]): each for each in evidence.decisions}
    for key, written in told.items():
        found = recorded.get(key)
        if found is None:
            yield f"signal {key} was answered, and the journal has no decision on it"
            continue
        message = decision_pb2.Decision.FromString(base64.b64decode(written))
        if message != decision_message(found):
            yield f"signal {key} was answered otherwise than the journal has it"
        row = rows.get(key)
        if row is None or row["sequence"] != found.sequence:
            yield f"signal {key} is not found in the record's index of decisions"


def streams_equal_the_journal(evidence: Evidence) -> Violations:
    """6: each subscriber's stream, over all its connections, is the journal: no gap, no double."""
    journals = {
        account_id: [
            (entry["sequence"], order["order_id"], order["ord_status"], Decimal(order["cum_qty"]))
            for entry, payload in evidence.payloads(account_id)
            if entry["kind"] in ORDER_KINDS and (order := order_of(payload)) is not None
        ]
        for account_id in evidence.account_ids
    }
    seen: dict[tuple[str, str], list[Any]] = {
        (each["subscriber"], each["account_id"]): [] for each in evidence.events_of("subscribed")
    }
    for each in evidence.events_of("update"):
        seen[each["subscriber"], each["account_id"]].append(
            (each["sequence"], each["order_id"], each["ord_status"], Decimal(each["cum_qty"]))
        )
    for (subscriber, account_id), updates in seen.items():
        journal = journals.get(account_id, [])
        if updates == journal:
            continue
        place = next(
            (at for at, (one, two) in enumerate(zip(updates, journal, strict=False)) if one != two),
            min(len(updates), len(journal)),
        )  # fmt: skip
        yield (
            f"{subscriber} of {account_id} got {len(updates)} updates, the journal has"
            f" {len(journal)}; they part at number {place + 1}:"
            f" {updates[place : place + 2]} instead of {journal[place : place + 2]}"
        )


# ---- 3, 9: the journal folded by hand -------------------------------------------------------


@dataclass
class _Exposure:
    """Quantities of an account by symbol: held, and what each open order may still fill."""

    held: defaultdict[str, Decimal]
    open: dict[str, tuple[str, str, Decimal]]

    def worst(self, symbol: str) -> Decimal:
        buys = sum(
            (q for s, side, q in self.open.values() if (s, side) == (symbol, "BUY")), Decimal(0)
        )
        sells = sum(
            (q for s, side, q in self.open.values() if (s, side) == (symbol, "SELL")), Decimal(0)
        )
        return max(self.held[symbol] + buys, sells - self.held[symbol])

    def gross(self) -> Decimal:
        symbols = {*self.held, *(symbol for symbol, _, _ in self.open.values())}
        return sum((self.worst(symbol) for symbol in symbols), Decimal(0))


def within_limits(evidence: Evidence) -> Violations:
    """3: at every sequence, held and working within each limit in force, or not grown."""
    for account_id in evidence.account_ids:
        yield from _within_limits(evidence, account_id, Decimal(evidence.price))


def _within_limits(evidence: Evidence, account_id: str, price: Decimal) -> Violations:
    now = _Exposure(defaultdict(Decimal), {})
    rules: Rulebook | None = None
    gross = Decimal(0)
    for entry, payload in evidence.payloads(account_id):
        if entry["kind"] == EntryKind.LIMITS_CHANGED:
            rules = Rulebook.from_json(payload)
        order = order_of(payload)
        if order is None:
            continue
        symbol, sequence = order["symbol"], entry["sequence"]
        worst_before = now.worst(symbol) * price
        report = payload.get("report") or {}
        if entry["kind"] == EntryKind.EXECUTION and report.get("exec_type") == "TRADE":
            sign = 1 if order["side"] == "BUY" else -1
            now.held[symbol] += sign * Decimal(report["last_qty"])
        now.open[order["order_id"]] = (symbol, order["side"], Decimal(order["leaves_qty"]))
        if order["ord_status"] in ("FILLED", "CANCELED", "REJECTED", "EXPIRED"):
            now.open.pop(order["order_id"])
        worst, gross_before, gross = now.worst(symbol) * price, gross, now.gross() * price
        if rules is None:
            yield f"{account_id} {sequence}: an order before any limits"
            continue
        limits = rules.limits.in_force(account_id, order["strategy_id"], symbol)
        for name, before, after in (
            ("symbol_position_notional_max", worst_before, worst),
            ("gross_exposure_max", gross_before, gross),
        ):
            if after > before and after > limits[name].value:
                yield f"{account_id} {sequence}: {name} {limits[name].value}, and it is {after}"
        notional = Decimal(order["order_qty"]) * price
        if entry["kind"] == EntryKind.DECISION and notional > limits["order_notional_max"].value:
            yield f"{account_id} {sequence}: order_notional_max passed by {notional}"


_CLOSED = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})
_FROM_PENDING_NEW = {"NEW", "PARTIALLY_FILLED", "PENDING_CANCEL"} | _CLOSED
LEGAL = {
    "PENDING_NEW": _FROM_PENDING_NEW,
    "NEW": {"PARTIALLY_FILLED", "PENDING_CANCEL"} | _CLOSED,
    "PARTIALLY_FILLED": {"PENDING_CANCEL", "FILLED", "CANCELED", "EXPIRED"},
    # A cancel that was refused, or crossed a fill, shows what it hid.
    "PENDING_CANCEL": {"NEW", "PARTIALLY_FILLED", "PENDING_NEW"} | _CLOSED,
    "FILLED": set[str](),
    "CANCELED": {"PARTIALLY_FILLED", "FILLED"},  # the fill came late
    "REJECTED": set[str](),
    "EXPIRED": {"PARTIALLY_FILLED", "FILLED"},
}
"""What may follow what at the paper venue, which knows no replace, stop or suspension."""


def books_are_the_fold(evidence: Evidence) -> Violations:
    """9: positions, cash and CumQty are the fold of the fills; only legal transitions."""
    yield from _fills_are_the_brokers(evidence)
    held: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    cash: defaultdict[str, Decimal] = defaultdict(Decimal)
    cum: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for account_id in evidence.account_ids:
        _, opened = evidence.payloads(account_id)[0]
        cash[account_id] = Decimal(opened.get("opening_cash", 0))
        yield from _transitions(evidence, account_id)
    for fill in evidence.fills:
        account_id, quantity = fill["account_id"], Decimal(fill["last_qty"])
        signed = quantity if fill["side"] == "BUY" else -quantity
        held[account_id, fill["strategy_id"], fill["symbol"]] += signed
        cash[account_id] -= signed * Decimal(fill["last_px"]) + Decimal(fill["commission"])
        cum[account_id, fill["order_id"]] += quantity
    for row in evidence.positions:
        key = row["account_id"], row["strategy_id"], row["symbol"]
        if Decimal(row["quantity"]) != held.pop(key, Decimal(0)):
            yield f"position {key} is {row['quantity']}, not the sum of its fills"
    for key, quantity in held.items():
        if quantity:
            yield f"position {key} of {quantity} is missing"
    for row in evidence.accounts:
        if Decimal(row["summary"]["cash"]) != cash[row["account_id"]]:
            yield (
                f"cash of {row['account_id']} is {row['summary']['cash']},"
                f" the fills make it {cash[row['account_id']]}"
            )
    for order in evidence.orders:
        key2 = order["account_id"], order["order_id"]
        if Decimal(order["cum_qty"]) != cum[key2]:
            yield f"CumQty of {key2} is {order['cum_qty']}, its fills make {cum[key2]}"


def _fills_are_the_brokers(evidence: Evidence) -> Violations:
    """The broker's word: every trade that it reported is booked once, and no other."""
    names = ("last_qty", "last_px", "commission")
    theirs = {
        (each["account_id"], each["exec_id"]): tuple(Decimal(each["report"][n]) for n in names)
        for each in evidence.reports
        if each["report"]["exec_type"] == "TRADE"
    }
    ours = {
        (each["account_id"], each["exec_id"]): tuple(Decimal(each[name]) for name in names)
        for each in evidence.fills
    }
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            yield f"execution {key}: {theirs.get(key)} at the broker, {ours.get(key)} here"


def _transitions(evidence: Evidence, account_id: str) -> Violations:
    status: dict[str, str] = {}
    for entry, payload in evidence.payloads(account_id):
        order = order_of(payload)
        if order is None:
            continue
        before, after = status.get(order["order_id"], "PENDING_NEW"), order["ord_status"]
        if after != before and after not in LEGAL.get(before, set()):
            yield f"{account_id} {entry['sequence']}: {order['order_id']} went {before} to {after}"
        status[order["order_id"]] = after
    for order in evidence.orders:
        if (
            order["account_id"] == account_id
            and status.get(order["order_id"]) != order["ord_status"]
        ):
            yield f"order {order['order_id']} is {order['ord_status']}, not as the journal left it"


# ---- 7: the chain ---------------------------------------------------------------------------


def chain_holds(evidence: Evidence) -> Violations:
    """7: the chain verifies; and an entry changed, deleted or cut off would be found."""
    for account_id in evidence.account_ids:
        entries = [each for each in evidence.journal if each["account_id"] == account_id]
        yield from (f"{account_id} {fault}" for fault in _chain_faults(entries))
        [row] = [each for each in evidence.accounts if each["account_id"] == account_id]
        if (row["sequence"], row["head_hash_hex"]) != (
            entries[-1]["sequence"],
            entries[-1]["hash"],
        ):
            yield f"{account_id}: the head is not the journal's last entry"
        for name, harmed in _harms(entries):
            if not _audit_finds(account_id, harmed, row):
                yield f"{account_id}: `audit verify` does not find {name}"


def _chain_faults(entries: list[Row]) -> Iterator[str]:
    prev_hash = bytes(32).hex()
    for number, entry in enumerate(entries, start=1):
        if entry["sequence"] != number:
            yield f"{number}: missing, {entry['sequence']} stands there"
            return
        content = {
            "account_id": entry["account_id"],
            "kind": entry["kind"],
            "payload": orjson.Fragment(entry["payload"].encode()),
            "recorded_at_ns": entry["recorded_at_ns"],
            "sequence": entry["sequence"],
        }
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        digest = hashlib.sha256(bytes.fromhex(prev_hash) + canonical).hexdigest()
        if entry["prev_hash"] != prev_hash or entry["hash"] != digest:
            yield f"{number}: does not chain to what is before it, or has not its hash"
        prev_hash = entry["hash"]


def _harms(entries: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    middle = len(entries) // 2
    changed = dict(entries[middle])
    changed["recorded_at_ns"] += 1
    yield "a changed entry", [*entries[:middle], changed, *entries[middle + 1 :]]
    yield "a deleted entry", [*entries[:middle], *entries[middle + 1 :]]
    yield "a cut-off entry", entries[:-1]


def _audit_finds(account_id: str, entries: list[Row], head: Row) -> bool:
    """Whether the product's own audit finds a fault in these entries under this head."""
    audit = Verification(account_id, book)
    for each in entries:
        audit.take(
            JournalEntry(
                account_id,
                each["sequence"],
                each["recorded_at_ns"],
                EntryKind(each["kind"]),
                each["payload"].encode(),
                bytes.fromhex(each["prev_hash"]),
                bytes.fromhex(each["hash"]),
            )
        )
    chain = len(audit.findings.faults)
    state = AccountState(account_id, "", "", head["sequence"], bytes.fromhex(head["head_hash_hex"]))
    audit.compare(state, [], set())
    faults = audit.findings.faults
    return bool(chain) or any("the head is not" in fault.what for fault in faults)


# ---- 8: Redis -------------------------------------------------------------------------------


def redis_is_the_fold(evidence: Evidence) -> Violations:
    """8: what a rebuild from PostgreSQL would lay is what Redis holds, field by field."""
    for row in evidence.accounts:
        account_id = row["account_id"]
        laid = _fold(evidence, row)
        held = evidence.redis.get(keys.state(account_id), {}).get("value") or {}
        for name in sorted(laid.keys() | held.keys()):
            if laid.get(name) != held.get(name):
                yield (
                    f"{account_id}: {name} is {held.get(name)} in Redis,"
                    f" a rebuild makes it {laid.get(name)}"
                )
    controls = dict(evidence.redis.get(keys.CONTROLS, {}).get("value") or {})
    if controls.pop(encoding.COMPLETE_FIELD.decode(), None) is None:
        yield "Redis does not have the operators' controls complete"
    in_redis = {
        scope: doc["state"]
        for scope, written in controls.items()
        if (doc := orjson.loads(written))["state"] != "ACTIVE"
    }
    in_record = {each["scope"]: each["state"] for each in evidence.controls}
    if in_redis != in_record:
        yield f"the controls are {in_redis} in Redis, {in_record} in the record"


def _fold(evidence: Evidence, row: Row) -> dict[str, str]:
    account_id = row["account_id"]
    state = AccountState(
        account_id, "", row["epoch"], row["sequence"], bytes.fromhex(row["head_hash_hex"])
    )
    state.read_summary(row["summary"])
    for each in evidence.positions:
        if each["account_id"] == account_id:
            position = Position.from_json(each)
            state.positions[position.strategy_id, position.symbol] = position
    for each in evidence.orders:
        if each["account_id"] == account_id and each["is_open"]:
            state.orders[each["order_id"]] = Order.from_json(each)
    flat = [
        each.decode() if isinstance(each, bytes) else each for each in encoding.fold_fields(state)
    ]
    return dict(zip(flat[::2], flat[1::2], strict=True))


# ---- 10, 11: what is left -------------------------------------------------------------------

_LASTING = (keys.CONTROLS, "te:{_quotes}:")


def nothing_is_stuck(evidence: Evidence) -> Violations:
    """10: in time after the last fault no key, reservation, lease, connection or order is stuck."""
    for settled in evidence.events_of("settled"):
        if not settled["quiet"]:
            limit_s = evidence.quiet_limit_s
            yield f"not quiet {limit_s:.0f} s after the last fault: {settled['left']}"
    if not evidence.events_of("settled"):
        yield "the run never settled"
    for probe in evidence.events_of("probe"):
        if not probe["passed"]:
            yield f"a signal after all faults was not served: {probe['said']}"
    for order in evidence.orders:
        if order["is_open"]:
            yield f"order {order['order_id']} is open: {order['ord_status']} {order['delivery']}"
    lasting = {keys.state(account_id) for account_id in evidence.account_ids}
    for key, held in evidence.redis.items():
        if held["ttl_ms"] < 0 and key not in lasting and not key.startswith(_LASTING):
            yield f"key {key} in Redis lives for ever"
    for lease in evidence.leases:
        if lease["stuck"]:
            yield f"the lease of {lease['account_id']} is still {lease['holder']}'s"
    for session in evidence.sessions:
        if session["open_s"] > 2:
            yield f"a transaction stands open for {session['open_s']:.1f} s: {session}"
    for session in evidence.sessions_left:
        yield f"a connection is left after the stop: {session}"
    for replica, code in evidence.exit_codes.items():
        if code != 0:
            yield f"{replica} ended with {code} when it was asked to stop"


def no_secret_is_told(evidence: Evidence) -> Violations:
    """11: no secret in any log, error or metric."""
    told = {
        **{f"the log {name}": text for name, text in evidence.logs.items()},
        **{f"the metrics of {name}": text for name, text in evidence.metrics.items()},
        "what clients were told": orjson.dumps(evidence.events).decode(),
    }
    if not evidence.secret:
        yield "there was no secret to look for"
        return
    for where, text in told.items():
        at = text.find(evidence.secret)
        if at >= 0:
            line = text[text.rfind("\n", 0, at) + 1 : at]
            yield f"the secret is in {where}, after {line[-80:]!r}"


CHECKS: dict[int, Callable[[Evidence], Violations]] = {
    1: one_broker_order_per_signal,
    2: answers_stand,
    3: within_limits,
    4: approved_first,
    5: nothing_after_a_halt,
    6: streams_equal_the_journal,
    7: chain_holds,
    8: redis_is_the_fold,
    9: books_are_the_fold,
    10: nothing_is_stuck,
    11: no_secret_is_told,
}


def check(evidence: Evidence) -> dict[int, list[str]]:
    """The violations of each invariant that is violated; a check that fails is a violation too."""
    found: dict[int, list[str]] = {}
    for number, judge in CHECKS.items():
        said: list[str] = []
        try:
            said.extend(judge(evidence))
        except Exception as error:  # noqa: BLE001  evidence out of all order must not hide the rest
            said.append(f"the evidence cannot be judged: {error!r}")
        if said:
            found[number] = said
    return found
