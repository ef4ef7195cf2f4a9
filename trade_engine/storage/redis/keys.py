"""Every key and channel in Redis, and what it means.

The part in braces is the hash tag: all keys with one tag share a slot of a cluster, so one script
can take them. Tags that begin with `_` cannot be an account's id, which begins with a letter or a
digit.

| key | type | meaning | lives |
|---|---|---|---|
| `te:{<account>}:state` | hash | the fold of the account's journal; see `encoding` | for ever |
| `te:{<account>}:throttle:<name>` | string | GCRA's theoretical arrival time, ns | till past |
| `te:{<account>}:batch:<replica>` | string | the verdicts on a replica's last batch | `BATCH_MS` |
| `te:{_quotes}:<symbol>` | string | the last quote; see `encoding` | for ever |
| `te:{_quotes}:<symbol>:earlier` | string | earlier quotes; see `quotes` | for ever |
| `te:{_control}:states` | hash | scope to the trading state that an operator set | for ever |
| `te:{_replicas}` | hash | replica to when it was last seen, and its rules | `ALIVE_MS` |

Channels carry hints between replicas. Redis does not keep channels apart by database, so their
names do.
"""

from __future__ import annotations

CONTROLS = "te:{_control}:states"
REPLICAS = "te:{_replicas}"

BATCH_MS = 120_000
"""How long the verdicts on a batch are remembered: longer than anybody goes on asking again."""


def state(account_id: str) -> str:
    """The fold of an account."""
    return f"te:{{{account_id}}}:state"


def throttle(account_id: str, name: str) -> str:
    """The clock of one throttle of an account."""
    return f"te:{{{account_id}}}:throttle:{name}"


def batch(account_id: str, replica_id: str) -> str:
    """The last batch of a replica for an account, with its verdicts."""
    return f"te:{{{account_id}}}:batch:{replica_id}"


def quote(symbol: str) -> str:
    """The last quote of a symbol."""
    return f"te:{{_quotes}}:{symbol}"


def earlier_quote(symbol: str) -> str:
    """A quote of a symbol of a while ago."""
    return f"te:{{_quotes}}:{symbol}:earlier"


def quotes_channel(database: int) -> str:
    """Where accepted quotes are told: one JSON list per batch."""
    return f"te:{{_quotes}}@{database}"


def doorbell_channel(database: int) -> str:
    """Where it is told that an account's journal grew: `<replica> <account> <sequence>`."""
    return f"te:{{_doorbell}}@{database}"
