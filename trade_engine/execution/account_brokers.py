"""The brokers of one account: which of them each order and symbol is at, and all of them as one.

An account has one sender and one set of limits, whatever the number of its brokers. So it sends
only while it agrees with each of them: what it holds at one counts against what it may do at
another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from trade_engine.domain.market import Instrument
from trade_engine.domain.order import ApprovedOrder, Order
from trade_engine.domain.replacement import ApprovedReplacement
from trade_engine.domain.rulebook import AccountTerms
from trade_engine.execution.ports import Broker, BrokerOrder, Delivery, OrderEntry

Sent = TypeVar("Sent")
Act = Callable[[Broker, list[Sent]], Awaitable[list[Delivery]]]
Instruments = Callable[[], Mapping[str, Instrument]]


@dataclass(frozen=True, slots=True)
class Share:
    """What of an account is at one of its brokers.

    mark tells its differences from those of the others; the account's own broker has none.
    """

    broker: Broker
    mark: str
    has_order: Callable[[Order], bool]
    has_symbol: Callable[[str], bool]


class AccountBrokers:
    """An account's own broker first, then those that its routes name."""

    def __init__(
        self, terms: AccountTerms, brokers: Mapping[str, Broker], instruments: Instruments
    ) -> None:
        """Say which brokers there are, and where the instruments of now are read."""
        self._terms = terms
        self._instruments = instruments
        self._brokers = {name: brokers[name] for name in terms.brokers}
        self.names = frozenset(self._brokers)
        own = self._brokers[terms.broker]
        self.entry: OrderEntry = own if len(self._brokers) == 1 else EveryBroker(self._brokers)

    @property
    def shares(self) -> list[Share]:
        """Each broker's part: every order and every symbol is in exactly one."""
        return [self._share(name) for name in self._brokers]

    def _share(self, name: str) -> Share:
        own = self._terms.broker

        def has_order(order: Order) -> bool:
            """One that was sent to a broker of before is looked for at the account's own."""
            return (order.broker if order.broker in self._brokers else own) == name

        def has_symbol(symbol: str) -> bool:
            instrument = self._instruments().get(symbol)
            asset_class = instrument.asset_class if instrument else ""
            return self._terms.broker_for(symbol, asset_class) == name

        return Share(self._brokers[name], "" if name == own else name, has_order, has_symbol)


class EveryBroker:
    """Several brokers as one: each order goes to the one that it was approved for."""

    def __init__(self, brokers: Mapping[str, Broker]) -> None:
        """The first is the account's own: the sender's lease bears its name."""
        self._brokers = dict(brokers)
        self.name = next(iter(brokers))
        self.remembers_all = all(each.remembers_all for each in brokers.values())

    async def open_account(self, account_id: str) -> None:
        """Begin to work for an account, at all of them."""
        for each in self._brokers.values():
            await each.open_account(account_id)

    async def close_account(self, account_id: str) -> None:
        """Stop working for an account, at all of them."""
        for each in self._brokers.values():
            await each.close_account(account_id)

    async def send(self, orders: Sequence[ApprovedOrder]) -> list[Delivery]:
        """Hand over orders, each to its broker; one answer per order, in order."""
        return await self._each_at_its_own(orders, orders, lambda broker, some: broker.send(some))

    async def cancel(self, orders: Sequence[Order]) -> list[Delivery]:
        """Ask to cancel, each at its broker."""
        return await self._each_at_its_own(orders, orders, lambda broker, some: broker.cancel(some))

    async def replace(self, asked: Sequence[ApprovedReplacement]) -> list[Delivery]:
        """Ask for new terms, each at its order's broker."""
        orders = [each.order for each in asked]
        return await self._each_at_its_own(asked, orders, lambda broker, some: broker.replace(some))

    async def query(self, account_id: str, cl_ord_ids: Sequence[str]) -> dict[str, BrokerOrder]:
        """What they know of these orders; one that none of them ever saw is absent.

        Raises:
            StoreUnavailable: one did not answer, and may know what the others do not.
        """
        asked = [each.query(account_id, cl_ord_ids) for each in self._brokers.values()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found: dict[str, BrokerOrder] = {}
        silent: list[BaseException] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                silent.append(answer)
            else:
                found |= answer
        if silent and not found.keys() >= set(cl_ord_ids):
            raise silent[0]
        return found

    async def _each_at_its_own(
        self, sent: Sequence[Sent], orders: Sequence[Order], act: Act[Sent]
    ) -> list[Delivery]:
        """Act on each at the broker of its order; the answers in the order of what was sent."""
        places: dict[str, list[int]] = {}
        for at, order in enumerate(orders):
            places.setdefault(self._at(order), []).append(at)
        told = await asyncio.gather(
            *(act(self._brokers[name], [sent[at] for at in some]) for name, some in places.items())
        )
        answers: dict[int, Delivery] = {}
        for some, each in zip(places.values(), told, strict=True):
            answers.update(zip(some, each, strict=True))
        return [answers[at] for at in range(len(orders))]

    def _at(self, order: Order) -> str:
        return order.broker if order.broker in self._brokers else self.name
