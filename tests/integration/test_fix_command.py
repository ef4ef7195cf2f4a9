"""`trade-engine fix show` and `fix reset`, on a session's file."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.orders import make_order
from trade_engine.brokers.fix_look import look_into
from trade_engine.brokers.fix_store import FixStore
from trade_engine.cli import main
from trade_engine.domain.execution import CancelReject, ExecType, ExecutionReport
from trade_engine.domain.order import order_id_of
from trade_engine.domain.replacement import Replacement, Terms, is_replacement

BROKERS = """[fix.prime]
version = "FIX.4.4"
host = "127.0.0.1"
port = 5001
sender_comp_id = "ENGINE"
target_comp_id = "VENUE"
store = "{store}"
"""
NOW_NS = 1_700_000_000 * 10**9


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session's file with one report booked and one message kept aside."""
    path = tmp_path / "prime.sqlite"
    (tmp_path / "brokers.toml").write_text(BROKERS.format(store=path))
    monkeypatch.setenv("TRADE_ENGINE_BROKERS_FILE", str(tmp_path / "brokers.toml"))
    with closing(FixStore(path, lambda: NOW_NS)) as opened:
        opened.set(1, b"8=FIX.4.4\x0135=A\x0134=1\x01554=sesame\x01")
        opened.book([ExecutionReport("o-1", "o-1/1", ExecType.NEW, NOW_NS)], 7)
        opened.quarantine(b"8=FIX.4.4\x0135=8\x01554=sesame\x0117=\x01", "tag 17 is ''")
    return path


def send(store: FixStore, number: int, cl_ord_id: str) -> None:
    """Let an order, or a request to replace one, take a number."""
    order = make_order(order_id=order_id_of(cl_ord_id))
    if is_replacement(cl_ord_id):
        terms = Terms(order.order_id, cl_ord_id, Decimal(60), Decimal(99))
        store.expect_request(Replacement(order, terms, order.cl_ord_id))
    else:
        store.expect(order)
    kind = "G" if is_replacement(cl_ord_id) else "D"
    store.set(number, f"8=FIX.4.4\x0135={kind}\x0134={number}\x0111={cl_ord_id}\x01".encode())


def test_show_says_how_a_session_stands(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fix", "show", "prime"]) == 0
    said = capsys.readouterr().out
    assert "Next to send 2, first not booked 7, era 0." in said
    assert "2023-11-14 22:13:20  tag 17 is ''" in said
    assert "sesame" not in said
    assert main(["fix", "show", "prime", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["next_sender"], told["reports"]) == (2, 1)
    assert told["quarantined"][0]["message"] == "8=FIX.4.4|35=8|554=***|17=|"


def test_show_names_orders_and_requests_that_are_unclear(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in the order of its sending; what was answered is not among them."""
    with closing(FixStore(store, lambda: NOW_NS)) as opened:
        for number, name in enumerate(("o-1", "o-2", "o-1.r1", "o-2.r1", "o-2.r2"), start=2):
            send(opened, number, name)
        opened.get(5, 5)  # the venue asks for it again
        opened.book([CancelReject("o-2.r2", NOW_NS, "o-2")], 8)
    assert main(["fix", "show", "prime", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["unanswered"] == ["o-2", "o-1.r1"]
    assert told["withheld"] == ["o-2.r1"]


def test_show_looks_beside_a_running_engine_and_reset_does_not(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(FixStore(store, lambda: NOW_NS)):
        assert main(["fix", "show", "prime"]) == 0
        assert main(["fix", "reset", "prime"]) == 3
    assert "in use by another process" in " ".join(capsys.readouterr().err.split())
    assert look_into(store).next_target == 7


def test_reset_sets_the_numbers_and_keeps_the_rest(store: Path) -> None:
    assert main(["fix", "reset", "prime", "--next-sender", "812", "--next-target", "1204"]) == 0
    look = look_into(store)
    assert (look.next_sender, look.next_target, look.era, look.reports) == (812, 1204, 1, 1)
    assert main(["fix", "reset", "prime", "--announce"]) == 0
    with closing(FixStore(store, lambda: NOW_NS)) as opened:
        assert opened.announces_reset
        assert (opened.next_sender_msg_seq_num(), opened.era) == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "prim"], "no session 'prim', only prime; did you mean prime?"),
        (["reset", "prime", "--announce", "--next-sender", "5"], "--announce begins at 1"),
    ],
)
def test_what_is_wrong_is_said(
    store: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fix", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_session_that_never_began(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.unlink()
    assert main(["fix", "reset", "prime"]) == 2
    assert "this session never began" in capsys.readouterr().err
    assert main(["fix", "show", "prime"]) == 3


def test_without_a_brokers_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRADE_ENGINE_BROKERS_FILE", raising=False)
    assert main(["fix", "show", "prime"]) == 2
    assert "--brokers FILE" in capsys.readouterr().err
