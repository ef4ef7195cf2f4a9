"""The brokers file: the venues beside the paper one, a `[fix.NAME]` table for each FIX session.

An account trades there whose `broker` in the limits file is that NAME. Passwords are in files of
their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trade_engine.config.faults import ConfigFaults, Fault
from trade_engine.config.kinds import Kind, one_of, switch, text, whole
from trade_engine.config.rulebook import PAPER
from trade_engine.config.toml_file import Key, TomlFile, open_toml
from trade_engine.domain.errors import InvalidField
from trade_engine.domain.signal import checked_id

VERSIONS = ("FIX.4.2", "FIX.4.4")
FIELD_ALLOWED = "1 to 64 printable ASCII characters"
FIELD_CHARS_MAX = 64
HEARTBEAT_S_MAX = 3_600


def _check_field(value: str, field: str) -> None:
    if not value.isascii() or not value.isprintable() or not 0 < len(value) <= FIELD_CHARS_MAX:
        raise InvalidField(field, value, FIELD_ALLOWED)


def _file() -> Kind:
    """The path of a file that is there."""

    def read(value: object) -> Path:
        if not isinstance(value, str) or not Path(value).expanduser().is_file():
            raise ValueError
        return Path(value).expanduser()

    return Kind("the path of a file that is there", read)


def _path() -> Kind:
    def read(value: object) -> Path:
        if not isinstance(value, str) or not value:
            raise ValueError
        return Path(value).expanduser()

    return Kind("a path", read)


FIX_KEYS = {
    "version": Key(one_of(" or ".join(VERSIONS), lambda _: VERSIONS), "BeginString", required=True),
    "host": Key(text(FIELD_ALLOWED, _check_field), "where the venue listens", required=True),
    "port": Key(whole(1, 65_535), "and on which port", required=True),
    "sender_comp_id": Key(text(FIELD_ALLOWED, _check_field), "who we are there", required=True),
    "target_comp_id": Key(text(FIELD_ALLOWED, _check_field), "who the venue is", required=True),
    "live": Key(
        switch(), "whether real capital is at stake: its accounts start HALTED; true unless set"
    ),
    "username": Key(text(FIELD_ALLOWED, _check_field), "sent with the Logon; none unless set"),
    "password_file": Key(
        _file(), "a file whose first line is sent with the Logon; none unless set"
    ),
    "heartbeat_s": Key(
        whole(1, HEARTBEAT_S_MAX), "how long the line may be silent, s; 30 unless set"
    ),
    "order_status": Key(switch(), "whether the venue answers OrderStatusRequest; true unless set"),
    "can_replace": Key(
        switch(), "whether the venue takes OrderCancelReplaceRequest; false unless set"
    ),
    "store": Key(_path(), "the session's file; `fix/NAME.sqlite` in the data directory unless set"),
    "tls": Key(switch(), "whether the connection is TLS; false unless set"),
    "tls_ca_file": Key(_file(), "whom to trust; the system's authorities unless set"),
    "tls_cert_file": Key(_file(), "our certificate, where the venue wants one"),
    "tls_key_file": Key(_file(), "its key, where it is in another file"),
}
ACCOUNTS = "accounts"


def load_brokers(file: Path | None, data_dir: Path) -> dict[str, dict[str, Any]]:
    """The FIX sessions of a brokers file, by name, as `FixConfig` takes them; none without a file.

    Raises:
        ConfigFaults: the file cannot be read or used; every fault is listed.
    """
    if file is None:
        return {}
    faults: list[Fault] = []
    toml = open_toml(file, "brokers", faults)
    found: dict[str, dict[str, Any]] = {}
    if toml is not None:
        toml.read((), {}, tables=("fix",))
        for name in toml.tables(("fix",), at_least_one="[fix.NAME]"):
            found[name] = _read_session(toml, name, data_dir)
        faults += sorted(toml.faults, key=lambda fault: fault.line)
    if faults:
        raise ConfigFaults(faults)
    return found


def session_names(file: Path) -> list[str]:
    """The names of a brokers file's sessions, whatever else is wrong with it."""
    toml = open_toml(file, "brokers", [])
    return toml.names(("fix",)) if toml else []


def _read_session(file: TomlFile, name: str, data_dir: Path) -> dict[str, Any]:
    path = ("fix", name)
    try:
        checked_id(name, "")
    except InvalidField as fault:
        file.fault(path, fault.allowed)
    if name == PAPER:
        file.fault(path, f"another name: {PAPER} is the embedded venue")
    terms = file.read(path, FIX_KEYS, tables=(ACCOUNTS,)) or {}
    terms.setdefault("store", data_dir / "fix" / f"{name}.sqlite")
    terms["is_live"] = terms.pop("live", True)
    password_file = terms.pop("password_file", None)
    if password_file is not None:
        terms["password"] = _first_line(file, (*path, "password_file"), password_file)
    accounts = (*path, ACCOUNTS)
    keys = {each: Key(text(FIELD_ALLOWED, _check_field), "") for each in file.names(accounts)}
    terms[ACCOUNTS] = file.read(accounts, keys) or {}
    return terms


def _first_line(file: TomlFile, path: tuple[str, ...], secret: Path) -> str:
    try:
        return secret.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        file.fault(path, "a file that can be read")
        return ""
