"""ADB's packets: six words of header, little endian, and a payload.

Source: AOSP adb, protocol.txt. What packets mean is not here: see `connection.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

VERSION = 0x01000001
"""From this version on, payloads carry no checksum."""
MAX_PAYLOAD_BYTES = 1024 * 1024
HEADER = struct.Struct("<6I")

CNXN = int.from_bytes(b"CNXN", "little")
AUTH = int.from_bytes(b"AUTH", "little")
OPEN = int.from_bytes(b"OPEN", "little")
OKAY = int.from_bytes(b"OKAY", "little")
WRTE = int.from_bytes(b"WRTE", "little")
CLSE = int.from_bytes(b"CLSE", "little")

AUTH_TOKEN, AUTH_SIGNATURE, AUTH_RSA_PUBLIC_KEY = 1, 2, 3


class ProtocolError(Exception):
    """The host sent something that is not ADB."""


@dataclass(frozen=True)
class Packet:
    """One message of the transport."""

    command: int
    arg0: int
    arg1: int
    payload: bytes = b""

    def header(self) -> bytes:
        """Write the six words that precede the payload."""
        # Hosts check the sum until both sides have said that they are new enough to leave it out.
        check = sum(self.payload) & 0xFFFFFFFF if self.command in (CNXN, AUTH) else 0
        return HEADER.pack(
            self.command, self.arg0, self.arg1, len(self.payload), check, self.command ^ 0xFFFFFFFF
        )


def parse_header(header: bytes) -> tuple[int, int, int, int]:
    """Return command, both arguments and the payload's length; raises ProtocolError."""
    command, arg0, arg1, length, _check, magic = HEADER.unpack(header)
    if magic != command ^ 0xFFFFFFFF or length > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"not a header of ADB: {header.hex()}")
    return command, arg0, arg1, length
