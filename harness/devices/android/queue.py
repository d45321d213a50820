"""Jobs that a phone starts by itself, one after the other, while no cable feeds it.

They wait in a folder of their own; each becomes an ordinary job, with its folder among the others, when its
turn comes and the phone runs on its battery. So whoever comes back finds jobs to collect, and what never began
is nowhere among them. Not here: when this is done (`harness/measure/charging.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.devices.android.jobs import place_job
from harness.devices.android.scripts import script
from harness.devices.android.settings import PhoneSettings
from harness.devices.android.shell import GuardedShell
from harness.devices.base import QueueView
from harness.errors import DeviceError
from harness.runners.pack import RunnerPack
from harness.schema.job import Job


class PhoneQueue:
    """The queue of one phone."""

    def __init__(self, shell: GuardedShell, settings: PhoneSettings) -> None:
        self._shell, self._settings = shell, settings

    def enqueue(
        self, jobs: Sequence[tuple[Job, RunnerPack]], patience_seconds: int, rest_seconds: int
    ) -> None:
        """Leave jobs with the phone.

        It gives up after `patience_seconds` of waiting for the cable to go, and may rest `rest_seconds`
        before a job.
        """
        self.cancel()
        self._settings.stay_awake_unplugged()
        queue = script(
            "queue/queue",
            *(job.launch for job, _ in jobs),
            patience_seconds=patience_seconds,
            rest_seconds=rest_seconds,
        )
        self._shell.run(
            script("queue/begin", undo=script("queue/undo").text),
            *(place_job("queue", job, pack) for job, pack in jobs),
            script("queue/start", queue=queue.text),
        )

    def look(self) -> QueueView | None:
        """Tell how many jobs are left, and whether a charger feeds the phone; None if it is away.

        It is not waited for then, by nothing that is asked of it, until it is seen here again.
        """
        try:
            if self._shell.adb.state() == "device":
                answer = self._shell.try_once(script("queue/look"))
                self._shell.has_given_up = False
                return parse_look(answer.text) if answer.exit_code == 0 else None
        except DeviceError:  # it is just going, or coming
            pass
        self._shell.has_given_up = True
        return None

    def cancel(self) -> None:
        """Forget the jobs that have not begun; one that runs goes on."""
        self._shell.run(script("queue/cancel"))


def parse_look(answer: str) -> QueueView:
    """Read the answer of look.sh. A queue that has ended leaves what it did not come to for good."""
    lines = answer.splitlines()
    running, waiting = lines.count("running"), lines.count("job")
    # Between two of its jobs a queue has none that runs.
    left = max(1, running + waiting) if "queue" in lines else running
    # A full battery, and one that is not charged, are fed all the same; 3: discharging.
    return QueueView(left, charging=re.search(r"^  status: 3$", answer, re.M) is None)
