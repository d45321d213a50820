"""The line by which tests, and people, give orders to a running phone: one JSON object a line.

What the orders do is in `adbd.py`.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any


def control_address(port: int) -> str:
    """Return the abstract address where the phone on this port takes orders."""
    return f"\0virtual-phone-{port}"


class PhoneControl:
    """The line to a running phone's process; several threads may use it."""

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(control_address(port))
        self._stream = self._socket.makefile("rw")

    def order(self, do: str, **fields: Any) -> Any:
        """Send an order; return its answer. ConnectionError when the phone is gone."""
        with self._lock:
            self._stream.write(json.dumps({"do": do, **fields}) + "\n")
            self._stream.flush()
            answer = self._stream.readline()
        if not answer:
            raise ConnectionError("the virtual phone is gone")
        return json.loads(answer)

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()
