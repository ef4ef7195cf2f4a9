"""FIX on the wire: the tags and message types that the adapter uses, and a look at raw bytes."""

from __future__ import annotations

from fixcore.message.message import Message

SOH = b"\x01"

# Message types.
HEARTBEAT = "0"
TEST_REQUEST = "1"
RESEND_REQUEST = "2"
REJECT = "3"
SEQUENCE_RESET = "4"
LOGOUT = "5"
EXECUTION_REPORT = "8"
ORDER_CANCEL_REJECT = "9"
LOGON = "A"
NEW_ORDER_SINGLE = "D"
ORDER_CANCEL_REQUEST = "F"
ORDER_CANCEL_REPLACE_REQUEST = "G"
ORDER_STATUS_REQUEST = "H"
BUSINESS_MESSAGE_REJECT = "j"

# Tags.
ACCOUNT = 1
AVG_PX = 6
CL_ORD_ID = 11
COMMISSION = 12
COMM_TYPE = 13
CUM_QTY = 14
EXEC_ID = 17
EXEC_REF_ID = 19
EXEC_TRANS_TYPE = 20
HANDL_INST = 21
LAST_PX = 31
LAST_QTY = 32
MSG_SEQ_NUM = 34
MSG_TYPE = 35
ORDER_ID = 37
ORDER_QTY = 38
ORD_STATUS = 39
ORD_TYPE = 40
ORIG_CL_ORD_ID = 41
POSS_DUP_FLAG = 43
PRICE = 44
REF_SEQ_NUM = 45
SIDE = 54
SYMBOL = 55
TEXT = 58
TIME_IN_FORCE = 59
TRANSACT_TIME = 60
SENDING_TIME = 52
CXL_REJ_REASON = 102
ORD_REJ_REASON = 103
TEST_REQ_ID = 112
ORIG_SENDING_TIME = 122
GAP_FILL_FLAG = 123
RESET_SEQ_NUM_FLAG = 141
EXEC_TYPE = 150
LEAVES_QTY = 151
REF_MSG_TYPE = 372
BUSINESS_REJECT_REF_ID = 379
EXEC_RESTATEMENT_REASON = 378
COMM_CURRENCY = 479
USERNAME = 553
PASSWORD = 554

SECRETS = frozenset({b"96", b"553", b"554", b"925"})
"""RawData, Username, Password and NewPassword: never in a log."""


def new_message(msg_type: str, fields: dict[int, str]) -> Message:
    """A message as the session takes it, which adds the standard header."""
    message = Message()
    message.header.set(MSG_TYPE, msg_type)
    for number, value in fields.items():
        message.set_field(number, value)
    return message


def fields_of(raw: bytes) -> dict[int, str]:
    """The fields of a message, whatever else is wrong with it; of a repeated one the first."""
    found: dict[int, str] = {}
    for part in raw.split(SOH):
        number, _, value = part.partition(b"=")
        if number.isdigit():
            found.setdefault(int(number), value.decode("latin-1"))
    return found


def is_intact(raw: bytes) -> bool:
    """Whether the message ends with a CheckSum(10) that holds."""
    body, marker, last = raw.rpartition(b"\x0110=")
    return bool(marker) and last == b"%03d\x01" % (sum(body + SOH) % 256)


def shown(raw: str) -> str:
    """A message for the log: without its secrets."""
    return "|".join(_struck(part) for part in raw.split("|"))


def _struck(part: str) -> str:
    number, separator, _ = part.partition("=")
    return f"{number}=***" if separator and number.encode() in SECRETS else part
