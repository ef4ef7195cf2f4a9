"""What a running engine leaves for `halt`: for its user alone, and told apart when stale."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from trade_engine.config.whereabouts import KEPT_NS, Whereabouts, found, noted

ADDRESS = "127.0.0.1:50051"
HERE = Whereabouts(ADDRESS, 4711, "postgresql://me:hunter2@db/x", "redis://:hunter2@cache/0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def left_behind(folder: Path, here: Whereabouts = HERE) -> Path:
    """The file of an engine that ended by force."""
    with noted(here, time.time_ns, folder):
        [file] = folder.iterdir()
        kept = file.read_bytes()
    file.write_bytes(kept)
    file.chmod(0o600)
    return file


def test_while_it_serves_it_is_found_and_afterward_it_is_gone(folder: Path) -> None:
    with noted(HERE, time.time_ns, folder):
        [file] = folder.iterdir()
        assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
        assert found(ADDRESS, folder) == (HERE, True)
        assert found("localhost:50051", folder) == (HERE, True)
        assert found("127.0.0.1:50052", folder) is None
    assert found(ADDRESS, folder) is None
    assert list(folder.iterdir()) == []


def test_a_socket_is_found_under_each_spelling(folder: Path) -> None:
    here = Whereabouts("unix:///run/te.sock", 1, "", "")
    with noted(here, time.time_ns, folder):
        assert found("unix:/run/te.sock", folder) == (here, True)


def test_what_ended_by_force_is_told_apart(folder: Path) -> None:
    left_behind(folder)
    assert found(ADDRESS, folder) == (HERE, False)


def test_the_next_engine_at_the_address_takes_its_place(folder: Path) -> None:
    left_behind(folder)
    other = Whereabouts(ADDRESS, 4712, "postgresql://other", "redis://other")
    with noted(HERE, time.time_ns, folder):
        with noted(other, time.time_ns, folder):
            assert found(ADDRESS, folder) == (other, True)
        assert found(ADDRESS, folder) is None
    assert list(folder.iterdir()) == []


def test_an_end_leaves_what_is_another_engines_by_now(folder: Path) -> None:
    first = noted(HERE, time.time_ns, folder)
    first.__enter__()
    with noted(Whereabouts(ADDRESS, 4712, "a", "b"), time.time_ns, folder):
        first.__exit__(None, None, None)
        assert found(ADDRESS, folder) is not None


def test_the_dead_are_forgotten_after_a_day_and_the_living_never(folder: Path) -> None:
    dead = left_behind(folder)
    with noted(Whereabouts("127.0.0.1:1", 1, "a", "b"), time.time_ns, folder):
        with noted(Whereabouts("127.0.0.1:2", 2, "a", "b"), time.time_ns, folder):
            assert dead.exists()
        with noted(
            Whereabouts("127.0.0.1:2", 2, "a", "b"), lambda: time.time_ns() + 2 * KEPT_NS, folder
        ):
            assert not dead.exists()
            assert found("127.0.0.1:1", folder) is not None


def test_a_folder_that_others_can_enter_is_not_believed(folder: Path) -> None:
    left_behind(folder)
    folder.chmod(0o755)
    assert found(ADDRESS, folder) is None
    entered = False
    with noted(HERE, time.time_ns, folder):  # the engine serves all the same
        entered = True
    assert entered


def test_a_folder_that_is_a_link_is_not_believed(folder: Path, tmp_path: Path) -> None:
    left_behind(folder)
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert found(ADDRESS, link) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"listen": "x"}'])
def test_half_a_file_is_none(folder: Path, content: bytes) -> None:
    left_behind(folder).write_bytes(content)
    assert found(ADDRESS, folder) is None


def test_looking_leaves_no_lock(folder: Path) -> None:
    file = left_behind(folder)
    found(ADDRESS, folder)
    descriptor = os.open(file, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_its_words_hold_no_password() -> None:
    assert "hunter2" not in repr(HERE)
