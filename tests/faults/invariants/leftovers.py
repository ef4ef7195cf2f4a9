"""8, 10, 11: what is left when all is quiet: in Redis, of connections and leases, of secrets."""

from __future__ import annotations

import orjson

from tests.faults.evidence import Evidence, Row, Violations
from trade_engine.domain.account import AccountState
from trade_engine.domain.order import Order
from trade_engine.domain.position import Position
from trade_engine.storage.redis import encoding, keys


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
