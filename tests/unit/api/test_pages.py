"""Page tokens: opaque, tied to their list and filter, and never trusted."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_engine.api.pages import SIZE_DEFAULT, SIZE_MAX, Page
from trade_engine.api.reading import Reader
from trade_engine.domain.errors import InvalidFields


@dataclass
class Request:
    page_size: int = 0
    page_token: str = ""


def a_page(request: Request, *filter_: object, types: tuple[type, ...] = (int, str)) -> Page:
    fields = Reader()
    page = Page(fields, request, filter_, types)
    fields.done()
    return page


@pytest.mark.parametrize(
    ("asked", "size"),
    [(0, SIZE_DEFAULT), (1, 1), (SIZE_MAX, SIZE_MAX), (SIZE_MAX + 1, SIZE_MAX), (2**31 - 1, 200)],
)
def test_how_many_items_a_page_has(asked: int, size: int) -> None:
    page = a_page(Request(page_size=asked), "orders")

    shown, token = page.cut([(number, "o") for number in range(page.fetch)], lambda item: item)

    assert page.fetch == size + 1
    assert len(shown) == size
    assert token


def test_the_last_page_has_no_token() -> None:
    page = a_page(Request(page_size=3), "orders")

    assert page.cut([1, 2, 3], lambda item: (item, "o")) == ([1, 2, 3], "")
    assert page.cut([], lambda item: (item, "o")) == ([], "")


@given(number=st.integers(0, 2**63 - 1), text=st.text(max_size=64))
def test_a_token_brings_the_position_back(number: int, text: str) -> None:
    _, token = a_page(Request(page_size=1), "orders", "main").cut(
        [(number, text), (0, "")], lambda item: item
    )

    assert a_page(Request(page_token=token), "orders", "main").position == (number, text)
    assert token == base64.urlsafe_b64encode(
        base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    ).decode().rstrip("=")


def a_token(*filter_: object) -> str:
    return a_page(Request(page_size=1), *filter_).cut([(1, "a"), (2, "b")], lambda item: item)[1]


@pytest.mark.parametrize(
    "token",
    [
        a_token("orders", "other"),
        a_token("decisions", "main"),
        a_token("orders"),
        a_token("orders", "main")[:-2],
        a_token("orders", "main") + "AAAA",
        "x",
        "=",
        "\N{SNOWMAN}",
        "A" * 100_000,
        "AAAA",
    ],
)
def test_a_token_that_is_not_of_this_list_is_refused(token: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        a_page(Request(page_token=token), "orders", "main")

    [fault] = caught.value.faults
    assert fault.field == "page_token"


@given(noise=st.text(max_size=200))
def test_noise_is_refused_and_nothing_else_happens(noise: str) -> None:
    if noise:
        with pytest.raises(InvalidFields):
            a_page(Request(page_token=noise), "orders", "main")


def test_a_position_of_other_types_is_refused() -> None:
    token = a_token("orders", "main")

    with pytest.raises(InvalidFields):
        a_page(Request(page_token=token), "orders", "main", types=(str, str))
