"""Only this machine can reach the engine, and no password gets out."""

from __future__ import annotations

import pytest

from trade_engine.config.addresses import (
    STRUCK_OUT,
    checked_listen,
    checked_loopback,
    redacted_url,
)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "127.8.9.10:1",
        "localhost:0",
        "[::1]:65535",
        "unix:engine.sock",
        "unix:/run/engine.sock",
        "unix:///run/engine.sock",
    ],
)
def test_loopback_and_unix_sockets_are_listened_on(address: str) -> None:
    assert checked_listen(address) == address


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:50051", "[::]:50051", "10.1.2.3:50051", "example.org:50051", "*:1", "localhost.:1"],
)
def test_listening_beyond_this_machine_is_refused_and_says_why(address: str) -> None:
    with pytest.raises(ValueError, match="needs TLS and authentication"):
        checked_listen(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "50051",
        ":50051",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:http",
        "127.0.0.1:50051 ",
        "127.0.0.1:٥",
        "::1:50051",
        "unix:",
        "unix://engine.sock",
        "unix:/" + "x" * 107,
        "ipv4:127.0.0.1:50051",
    ],
)
def test_what_is_no_address_is_refused_with_what_is(address: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1:50051|unix:"):
        checked_listen(address)


def test_a_socket_path_may_be_as_long_as_the_system_lets_it() -> None:
    longest = "unix:/" + "x" * 106
    assert checked_listen(longest) == longest


def test_metrics_have_no_unix_socket() -> None:
    with pytest.raises(ValueError, match="such as 127"):
        checked_loopback("unix:/run/metrics.sock")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h/db", "postgresql://h/db"),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg"),
        ("redis://:secret@h:6379/0", "redis://:***@h:6379/0"),
        (
            "postgresql://h/db?user=u&password=secret&x=1",
            "postgresql://h/db?user=u&password=***&x=1",
        ),
        ("postgresql://h/db?sslpassword=secret", "postgresql://h/db?sslpassword=***"),
        ("redis://h/0?Password=secret@x", "redis://***"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock?password=***"),
        ("postgresql://u:sec/secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:sec@secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:sec?password=secret@h/db", "postgresql://***"),
        ("u:secret@h/db", STRUCK_OUT),
        ("host=h password=secret", STRUCK_OUT),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert redacted_url(url) == shown
