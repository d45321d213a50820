"""How long is waited for what while devices are measured. Not here: what is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Every wait that has nothing to do with a plan, in seconds; one is handed down from the top.

    A device that is to cool is asked after `first_pause_seconds`, and ever more seldom, for asking a
    phone costs it power: often while it is about to be cool, seldom when that takes long. What has not
    become cooler for `settled_seconds` will not: the room is warmer than it was.

    A gauge shows a change of current after its refresh period at the latest; a phone shows that its
    charger has gone within seconds. A launch that a phone makes by itself takes
    `launch_overhead_seconds` beside what its job waits and works for: loading, first inference, checks.
    """

    first_pause_seconds: float = 0.25
    longest_pause_seconds: float = 5.0
    settled_seconds: float = 60.0
    reversal_seconds: float = 10.0
    unplug_seconds: float = 600.0
    port_seconds: float = 30.0
    replug_seconds: float = 3600.0
    poll_seconds: float = 1.0
    launch_overhead_seconds: float = 30.0


PATIENCE = Patience()
