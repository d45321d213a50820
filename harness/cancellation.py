"""A wish to stop that wakes whoever waits: set once, from any thread or a signal handler."""

from __future__ import annotations

import os
import select


class Cancellation:
    """Not set, then set. It has a file descriptor, so that a wait for others can end with it."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._is_set = False

    def set(self) -> None:
        """Wake all who wait."""
        self._is_set = True
        os.write(self._writer, b"x")

    def is_set(self) -> bool:
        """Tell whether somebody wants to stop."""
        return self._is_set

    def wait_for(self, descriptor: int | None, seconds: float) -> bool:
        """Wait until `descriptor` can be read, the time is over, or stop is set.

        Returns whether the descriptor can be read.
        """
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(max(0.0, seconds) * 1000)
        return any(number == descriptor for number, _ in ready)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._reader)
        os.close(self._writer)
