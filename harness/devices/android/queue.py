"""Jobs that a phone starts by itself, one after the other, while no cable feeds it.

They wait in ROOT/queue; each becomes an ordinary job, with its folder among the others, when its turn
comes and the phone runs on its battery. So whoever comes back finds jobs to collect, and what never
began is nowhere among them. Not here: sending this (`android.py`), and when (`harness/measure/charging.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.devices.android.scripts import ALIVE, ROOT
from harness.devices.base import QueueView

QUEUE = f"{ROOT}/queue"
_UNDO = f"{ROOT}/changes/energy-queue.sh"
# A gauge needs some seconds to forget the charger.
_SETTLE_SECONDS = 5
# How much warmer than at first the battery may be for the next job, in tenths of a degree.
_WARMER_TENTHS = 20


@dataclass(frozen=True)
class QueuedJob:
    """One job: its name, its text, and the command that runs it in its folder to its end."""

    launch: str
    text: str
    supervise: str
    command: str


def make_script(jobs: Sequence[QueuedJob], patience_seconds: int, rest_seconds: int) -> str:
    """Return the script that sends the jobs and starts their queue.

    The queue gives up after waiting `patience_seconds` for the cable to go, and lets a warm battery
    rest up to `rest_seconds` before a job.
    """
    lines = [f"[ -e {QUEUE}/run.sh ] && exit 0", f"mkdir -p {ROOT}/changes {ROOT}/jobs {QUEUE}"]
    lines.append(f"cat > {_UNDO} <<'END_OF_UNDO' || exit 1\n{_UNDO_SCRIPT}END_OF_UNDO")
    for job in jobs:
        lines += [
            f"mkdir -p {QUEUE}/{job.launch} && cd {QUEUE}/{job.launch} || exit 1",
            f"cat > job.json <<'END_OF_JOB' || exit 1\n{job.text}\nEND_OF_JOB",
            f"cat > start.sh <<'END_OF_START' || exit 1\n{job.command}\nEND_OF_START",
            f"echo {job.supervise} > supervise || exit 1",
        ]
    script = (
        _QUEUE.replace("@JOBS@", " ".join(job.launch for job in jobs))
        .replace("@PATIENCE@", str(patience_seconds))
        .replace("@REST@", str(rest_seconds))
    )
    lines.append(f"cat > {QUEUE}/run.sh <<'END_OF_QUEUE' || exit 1\n{script}END_OF_QUEUE")
    lines.append(f"setsid sh {QUEUE}/run.sh </dev/null >/dev/null 2>&1 &")
    lines.append(
        f"n=0; until [ -e {QUEUE}/pid ] || [ $n -ge 50 ]; do sleep 0.1; n=$((n + 1)); done"
    )
    return "\n".join(lines) + "\n"


_QUEUE = f"""echo $$ > {QUEUE}/pid
told() {{ set -- $(dumpsys battery | grep "^  $1: "); echo "${{2:-0}}"; }}
# A second, with a sign of life: nobody else gives one.
pause() {{ : > {ROOT}/lock/heartbeat; sleep 1; }}
first=$(told temperature)
for job in @JOBS@; do
  # The last job was a sign of life, and has ended.
  : > {ROOT}/lock/heartbeat
  waited=0
  # 3: discharging (android.os.BatteryManager).
  until [ "$(told status)" = 3 ]; do
    [ $waited -lt @PATIENCE@ ] || exit
    pause
    waited=$((waited + 1))
  done
  settled=0
  while [ $waited -gt 0 ] && [ $settled -lt {_SETTLE_SECONDS} ]; do
    pause
    settled=$((settled + 1))
  done
  rested=0
  while [ $rested -lt @REST@ ] && [ "$(told temperature)" -gt $((first + {_WARMER_TENTHS})) ]; do
    pause
    rested=$((rested + 1))
  done
  cat /proc/sys/kernel/random/boot_id > {QUEUE}/$job/boot && touch {QUEUE}/$job/started
  mv {QUEUE}/$job {ROOT}/jobs/$job && cd {ROOT}/jobs/$job || exit
  sh ./start.sh
done 2>/dev/null
"""
_UNDO_SCRIPT = f"""{{ read -r pid < {QUEUE}/pid && grep -q {QUEUE}/run.sh /proc/$pid/cmdline &&
  kill $pid; }} 2>/dev/null
rm -rf {QUEUE}
"""
# Whether the queue runs, a line for each job that waits or runs, and the battery's state.
LOOK = (
    ALIVE
    + f"""{{ read -r pid < {QUEUE}/pid; grep -q {QUEUE}/run.sh /proc/$pid/cmdline && echo queue; }} 2>/dev/null
for job in {QUEUE}/*/job.json; do [ -e "$job" ] && echo job; done
for job in {ROOT}/jobs/*; do ( cd "$job" 2>/dev/null && [ ! -e exit ] && alive ) && echo running; done
dumpsys battery
"""
)
CANCEL = f"[ ! -e {_UNDO} ] || {{ sh {_UNDO}; rm -f {_UNDO}; }}"


def parse_look(answer: str) -> QueueView:
    """Read the answer to LOOK. A queue that has ended leaves what it did not come to for good."""
    lines = answer.splitlines()
    running, waiting = lines.count("running"), lines.count("job")
    # Between two of its jobs a queue has none that runs.
    left = max(1, running + waiting) if "queue" in lines else running
    # A full battery, and one that is not charged, are fed all the same; 3: discharging.
    return QueueView(left, charging=re.search(r"^  status: 3$", answer, re.M) is None)
