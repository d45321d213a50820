"""An Android phone over adb: jobs that outlive the cable, and a phone left as it was found.

Everything of ours on the phone lies in one folder, which the shell user may write and execute from:

    store/SHA256        models and check inputs, each verified by its hash
    packs/KEY/          runtime packs
    jobs/LAUNCH/        one job: what supervise and the runner write, until it is forgotten
    lock/               who uses the phone, and a file whose time is the last sign of life
    changes/NAME.sh     how to undo a changed setting, written before it is changed

Not here: talking (`adb.py`), what answers mean (`android_facts.py`), settings
(`android_settings.py`).
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import shlex
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from harness.devices import android_facts as facts
from harness.devices.adb import Adb, Output, make_client
from harness.devices.android_settings import wanted_changes
from harness.devices.base import Attached, JobExit, JobResult, JobStatus
from harness.errors import (
    CommandFailed,
    CommandTimeout,
    DeviceError,
    DeviceLost,
    DeviceNotFound,
    HarnessError,
)
from harness.job import Job
from harness.ledger import Conditions, DeviceInfo
from harness.plan import DeviceSettings
from harness.runtimes import RuntimePack
from harness.stop import Stop

ROOT = "/data/local/tmp/phonebench"
# A holder without a sign of life for this long, and without a running job, is gone.
LOCK_EXPIRES_SECONDS = 60
_HEARTBEAT_SECONDS = 15.0
# How long a phone that went away may take to come back: a cable, or a reboot.
_PATIENCE_SECONDS = 90.0
_AWAIT_SECONDS = 20.0
_FREE_MARGIN_BYTES = 64 << 20
_TRANSFER_TRIES = 3
_LOST_LOCK = 77

_STATES = {
    "unauthorized": "Unlock the phone and accept this computer's key on its screen.",
    "authorizing": "Unlock the phone and accept this computer's key on its screen.",
    "offline": "Unplug it and plug it in again; if that does not help: adb kill-server.",
    "no permissions": "This user may not use the USB device: install Debian's android-sdk-platform-tools"
    "-common (udev rules), plug the phone in again.",
    "recovery": "The phone is in recovery mode: boot it into the system.",
    "sideload": "The phone is in sideload mode: boot it into the system.",
    "bootloader": "The phone is in its bootloader: boot it into the system.",
    "connecting": "Wait a moment.",
}


def discover() -> list[Attached]:
    """List every phone that adb knows, with what to do about those that cannot be used."""
    from adbutils.errors import AdbError

    try:
        listed = make_client().list(extended=False)
    except (AdbError, OSError) as error:
        raise DeviceError(
            f"the adb server does not answer: {error}", "Try `adb kill-server`, then again."
        ) from error
    found = []
    for phone in listed:
        if phone.state != "device":
            advice = next((a for s, a in _STATES.items() if phone.state.startswith(s)), "")
            found.append(Attached(phone.serial, phone.state, advice))
            continue
        try:
            info, _ = _identify(Adb(phone.serial))
            found.append(Attached(phone.serial, "ready", info=info))
        except DeviceError as error:
            found.append(Attached(phone.serial, "does not answer", error.message))
    return found


def open_device(serial: str, purpose: str) -> AndroidPhone:
    """Open a phone for use, and take its lock."""
    return AndroidPhone(serial, purpose)


class AndroidPhone:
    """One phone, held by this harness until `close`.

    Every script it sends can be sent twice: when the phone goes away, it is waited for, and asked
    again.
    """

    def __init__(
        self, serial: str, purpose: str, patience_seconds: float = _PATIENCE_SECONDS
    ) -> None:
        self._adb = Adb(serial)
        self._patience_seconds = patience_seconds
        state = self._adb.state()
        if state != "device":
            advice = next((a for s, a in _STATES.items() if state.startswith(s)), "")
            raise DeviceNotFound(f"{serial} cannot be used: adb says {state}", advice)
        self.info, self._cores = _identify(self._adb)
        self._token = uuid.uuid4().hex
        self._take_lock(purpose)
        self._sizes = self._list_store()
        self._measuring = False
        self._forgotten: list[str] = []
        self._closed = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()
        self.restore()

    # --- what the sweep asks ------------------------------------------------------------------

    def conditions(self) -> Conditions:
        """Read load, memory, battery, temperature and clocks."""
        answer = self._shell(facts.ask(facts.CONDITIONS) + "\ntrue").text
        return facts.parse_conditions(answer, time.time())

    def apply(self, settings: DeviceSettings) -> None:
        """Change settings; how to undo each is on the phone before it is changed."""
        changes = wanted_changes(settings)
        if changes:
            self._shell(_WATCHDOG)
        for change in changes:
            undo = f"{ROOT}/changes/{change.name}.sh"
            self._shell(
                f"mkdir -p {ROOT}/changes && {{ {change.make_undo}\n}} > {undo}.new && sync && "
                f"mv {undo}.new {undo}"
            )
            if self._try(change.change).exit_code != 0:
                raise CommandFailed(
                    f"{self.info.id}: {change.name} cannot be switched on", change.advice
                )

    def resolve_cores(self, affinity: str) -> tuple[int, ...]:
        """Return the cores of the highest ("big") or lowest ("little") clock."""
        cores = facts.select_cores(affinity, self._cores)
        if cores is None:
            raise CommandFailed(
                f"{self.info.id} has no {affinity} cores: its cores' clocks are "
                f"{self.info.details['max_clocks_khz']} kHz",
                'Use affinity "all", or name cores by their numbers.',
            )
        return cores

    def stage(self, path: Path, sha256: str) -> str:
        """Bring a file to the phone's store, verified there by its hash, unless it is there."""
        remote = f"{ROOT}/store/{sha256}"
        if self._sizes.get(sha256) != path.stat().st_size:
            self._check_space(path.stat().st_size)
            partial = f"{remote}.{self._token}"
            self._transfer(path, partial, sha256)
            self._shell(f"mv {partial} {remote}")
            self._sizes[sha256] = path.stat().st_size
        return remote

    def install(self, pack: RuntimePack) -> None:
        """Bring a runtime pack to the phone, unless it is there; it appears whole."""
        folder = _pack_folder(pack)
        if self._try(f"[ -d {folder} ]").exit_code == 0:
            return
        files = {name: pack.folder / name for name in pack.sha256}
        self._check_space(sum(path.stat().st_size for path in files.values()))
        partial = f"{folder}.partial"
        folders = " ".join(sorted({str(Path(partial, name).parent) for name in files}))
        self._shell(f"mkdir -p {folders}")
        there = self._hashes(partial, list(files))
        for name, path in files.items():
            if there.get(name) != pack.sha256[name]:
                self._transfer(path, f"{partial}/{name}", pack.sha256[name])
        self._shell(f"cd {partial} && chmod -R 755 . && sync && mv {partial} {folder}")

    def start(self, job: Job, pack: RuntimePack) -> None:
        """Start a job in a session of its own, under a supervisor that notes how it ends."""
        folder, packed = f"{ROOT}/jobs/{job.launch}", _pack_folder(pack)
        command = " ".join(
            f"{packed}/{part}" if part in pack.sha256 else part.replace("@", packed)
            for part in pack.command
        )
        script = f"""{self._removals()}
mkdir -p {folder} && cd {folder} || exit 1
[ -e started ] && exit 0
cat > job.json <<'END_OF_JOB'
{job.model_dump_json()}
END_OF_JOB
cat /proc/sys/kernel/random/boot_id > boot && touch started || exit 1
setsid {packed}/supervise . -- {command} {folder}/job.json {folder}/result.jsonl \\
  </dev/null >/dev/null 2>&1 &
"""
        self._shell(script)

    def poll(self, launch: str) -> JobStatus:
        """Tell where a job stands, from what its supervisor wrote and from the running system."""
        return _parse_status(self._shell(self._poll_script(launch)).text)

    def wait(self, launch: str, seconds: float, stop: Stop) -> JobStatus:
        """Wait for a job to end. The phone sleeps meanwhile: nothing polls beside the job."""
        deadline = time.monotonic() + seconds
        supervise = f"{ROOT}/packs/*/supervise"
        self._measuring = True
        try:
            while True:
                left = deadline - time.monotonic()
                slice_seconds = min(max(left, 0.0), _AWAIT_SECONDS)
                script = (
                    f'for s in {supervise}; do "$s" --await {ROOT}/jobs/{launch} '
                    f"{slice_seconds:.1f} 2>/dev/null; break; done\n"
                )
                answer = self._try(script + self._poll_script(launch), slice_seconds + 20.0, stop)
                status = _parse_status(answer.text)
                if status.state != "running" or time.monotonic() >= deadline:
                    return status
        finally:
            self._measuring = False

    def kill(self, launch: str) -> None:
        """End a job with all its processes."""
        script = f"cd {ROOT}/jobs/{launch} && read pid ticks < pid && kill -9 -$pid"
        self._try(script)
        deadline = time.monotonic() + 10.0
        while self.poll(launch).state == "running":
            if time.monotonic() > deadline:
                raise CommandTimeout(f"{self.info.id}: the job {launch} does not end when killed")
            time.sleep(0.1)

    def fetch(self, launch: str) -> JobResult:
        """Collect what a job left, verified by its hash on the phone."""
        script = _FETCH.replace("JOB", f"{ROOT}/jobs/{launch}")
        for _ in range(_TRANSFER_TRIES):
            header, _, rest = self._shell(script, seconds=120.0).stdout.partition(b"\n")
            if header == b"none":
                return JobResult(None, rest.decode("utf-8", "replace"))
            digest, size = header.decode("ascii", "replace").split()
            record, stderr = rest[: int(size)], rest[int(size) :]
            if hashlib.sha256(record).hexdigest() == digest:
                return JobResult(record, stderr.decode("utf-8", "replace"))
        raise CommandFailed(
            f"{self.info.id}: the result of {launch} arrives damaged",
            "Try another cable or port. The result is still on the phone: run --resume.",
        )

    def forget(self, launch: str) -> None:
        """Remove a job's folder, together with whatever is asked of the phone next."""
        self._forgotten.append(f"{ROOT}/jobs/{launch}")

    def jobs(self) -> Sequence[str]:
        """Name the jobs whose folders are still there."""
        return self._shell(f"{self._removals()}ls {ROOT}/jobs").text.split()

    def restore(self) -> None:
        """Undo every changed setting, also those that a host which died had changed."""
        left = self._shell(_RESTORE, seconds=60.0).text.split()
        if left:
            raise CommandFailed(
                f"{self.info.id}: could not undo: {', '.join(left)}",
                f"The scripts in {ROOT}/changes on the phone say what to do; run one with adb shell.",
            )

    def close(self) -> None:
        """Let go of the phone."""
        self._closed.set()
        with contextlib.suppress(HarnessError):
            guard = _GUARD.replace("TOKEN", self._token)
            self._adb.try_shell(f"{guard}{self._removals()}rm -rf {ROOT}/lock")

    def clean(self) -> int:
        """Remove everything of ours from the phone; return the bytes that it held."""
        used = self._shell(f"du -sk {ROOT}").text.split()
        self._closed.set()
        self._shell(f"rm -rf {ROOT}", seconds=120.0)
        return int(used[0]) * 1024

    def _poll_script(self, launch: str) -> str:
        return _POLL.replace("JOB", f"{ROOT}/jobs/{launch}")

    def _removals(self) -> str:
        """Return the command that removes what was forgotten; a round trip of its own is saved."""
        folders, self._forgotten = self._forgotten, []
        return f"rm -rf {' '.join(folders)}\n" if folders else ""

    # --- talking ------------------------------------------------------------------------------

    def _shell(self, script: str, seconds: float = 20.0) -> Output:
        """Run a script under our lock; raises CommandFailed unless it ends well."""
        output = self._try(script, seconds)
        if output.exit_code != 0:
            words = (output.stderr or output.stdout).decode("utf-8", "replace").strip()[-300:]
            raise CommandFailed(f"{self.info.id}: exit code {output.exit_code}: {words}")
        return output

    def _try(self, script: str, seconds: float = 20.0, stop: Stop | None = None) -> Output:
        """Run a script under our lock; a phone that goes away is waited for and asked again."""
        guarded = _GUARD.replace("TOKEN", self._token) + script
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                output = self._adb.try_shell(guarded, seconds, stop)
            except DeviceLost:
                if not self._is_back(until, stop):
                    raise
                continue
            if output.exit_code == _LOST_LOCK:
                raise DeviceError(
                    f"{self.info.id} was taken over by another host while this one was silent",
                    "Wait until it is done, then go on with `phonebench run --resume`.",
                )
            return output

    def _is_back(self, until: float, stop: Stop | None) -> bool:
        """Wait for a phone that went away, until it has booted; False when patience ends."""
        while time.monotonic() < until and not (stop is not None and stop.is_set()):
            with contextlib.suppress(DeviceError, OSError):
                if self._adb.state() == "device":
                    booted = self._adb.try_shell("getprop sys.boot_completed", 10.0).text
                    if booted.strip() == "1":
                        return True
            time.sleep(0.25)
        return False

    def _transfer(self, source: Path, remote: str, sha256: str) -> None:
        """Push a file and compare its hash on the phone; one that arrives damaged is sent again."""
        until = time.monotonic() + self._patience_seconds
        for _ in range(_TRANSFER_TRIES):
            while True:
                try:
                    self._adb.push(source, remote)
                    break
                except DeviceLost:
                    if not self._is_back(until, None):
                        raise
            arrived = self._shell(f"sha256sum {remote}", seconds=120.0).text.split()
            if arrived and arrived[0] == sha256:
                return
        raise CommandFailed(
            f"{self.info.id}: {source.name} arrives damaged, {_TRANSFER_TRIES} times over",
            "Try another cable or port.",
        )

    def _hashes(self, folder: str, names: Sequence[str]) -> dict[str, str]:
        listed = " ".join(map(shlex.quote, names))
        lines = self._try(f"cd {folder} && sha256sum {listed} 2>/dev/null", 120.0).text.splitlines()
        pairs = (line.split(maxsplit=1) for line in lines)
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}

    def _list_store(self) -> dict[str, int]:
        """Return the sizes of the files in the store, by their hash."""
        script = f"mkdir -p {ROOT}/store {ROOT}/packs {ROOT}/jobs && cd {ROOT}/store && stat -c '%n %s' *"
        lines = self._try(f"{script} 2>/dev/null").text.splitlines()
        pairs = (line.split() for line in lines)
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}

    def _check_space(self, needed_bytes: int) -> None:
        free = facts.parse_free_bytes(self._shell(f"df -k {ROOT}").text)
        if free is not None and free < needed_bytes + _FREE_MARGIN_BYTES:
            raise CommandFailed(
                f"{self.info.id} has {free >> 20} MB free, and {needed_bytes >> 20} MB must be sent "
                f"(with {_FREE_MARGIN_BYTES >> 20} MB left over)",
                f"Free some space on the phone; `phonebench clean {self.info.id}` removes what is "
                "ours.",
            )

    # --- the lock -----------------------------------------------------------------------------

    def _take_lock(self, purpose: str) -> None:
        """Take the phone's lock, from a holder that is gone too. Raises DeviceError naming it."""
        holder = {
            "token": self._token,
            "host": socket.gethostname(),
            "user": getpass.getuser(),
            "pid": os.getpid(),
            "started": _process_start(os.getpid()),
            "purpose": purpose,
        }
        mine = shlex.quote(json.dumps(holder))
        script = _LOCK.replace("MINE", mine)
        answer = self._adb.shell(script).text
        state, _, rest = answer.partition("\n")
        if state == "taken":
            return
        age, _, theirs = rest.partition("\n")
        if not _is_gone(theirs.strip(), int(age)):
            raise DeviceError(
                f"{self.info.id} is in use by {_name_holder(theirs)}",
                f"Wait until it is done. A host that has died lets go after "
                f"{LOCK_EXPIRES_SECONDS} s, or when its job has ended.",
            )
        seize = _SEIZE.replace("MINE", mine).replace("THEIRS", shlex.quote(theirs.strip()))
        if self._adb.try_shell(seize).exit_code != 0:
            raise DeviceError(f"{self.info.id} was taken by another host just now", "Wait for it.")

    def _beat(self) -> None:
        """Give a sign of life while no job runs; a running job is one itself."""
        while not self._closed.wait(_HEARTBEAT_SECONDS):
            if not self._measuring:
                with contextlib.suppress(HarnessError, OSError):
                    self._adb.try_shell(_GUARD.replace("TOKEN", self._token))


def _identify(adb: Adb) -> tuple[DeviceInfo, tuple[facts.Core, ...]]:
    return facts.describe(adb.serial, adb.shell(facts.ask(facts.IDENTITY) + "\ntrue").text)


def _pack_folder(pack: RuntimePack) -> str:
    return f"{ROOT}/packs/{pack.key}"


def _parse_status(answer: str) -> JobStatus:
    state, _, rest = answer.partition("\n")
    match state.strip():
        case "absent":
            return JobStatus("absent")
        case "running":
            return JobStatus("running")
        case "finished":
            return JobStatus("finished", JobExit.model_validate_json(rest))
    return JobStatus("vanished")


def _is_gone(holder: str, silent_seconds: int) -> bool:
    """Tell whether the lock's holder is gone: silent for long, or a dead process of this computer."""
    if silent_seconds >= LOCK_EXPIRES_SECONDS:
        return True
    try:
        known = json.loads(holder)
        here = bool(known["host"] == socket.gethostname())
        return here and _process_start(known["pid"]) != known["started"]
    except (ValueError, KeyError, TypeError):
        return False


def _name_holder(holder: str) -> str:
    try:
        known = json.loads(holder)
        return f"{known['user']} on {known['host']} (process {known['pid']}: {known['purpose']})"
    except (ValueError, KeyError, TypeError):
        return "somebody"


def _process_start(pid: int) -> int | None:
    """Return when a process of this computer began, in clock ticks; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19])


# Shell functions and scripts for the phone's mksh and toybox.

# Before everything: the lock is still ours, and this is a sign of life. Builtins only, because
# every process costs milliseconds on the phone.
_GUARD = f"""read -r holder 2>/dev/null < {ROOT}/lock/holder
case "$holder" in *TOKEN*) ;; *) exit {_LOST_LOCK};; esac
: > {ROOT}/lock/heartbeat
"""

# 0 if the job in the current folder runs: the 22nd field of its stat is when it began.
_ALIVE = """alive() {
  read pid ticks < pid 2>/dev/null || return 1
  line=$(cat /proc/$pid/stat 2>/dev/null) || return 1
  set -- ${line##*) }
  [ "$1" != Z ] && [ "${20}" = "$ticks" ]
}
"""
# A job that shows no sign of life for 3 s was never started. Alive is looked up first: the exit
# file is written before the process is gone.
_POLL = (
    _ALIVE
    + """cd JOB 2>/dev/null || { echo absent; exit 0; }
state=vanished
if alive; then state=running
elif [ ! -e pid ] && [ "$(cat boot 2>/dev/null)" = "$(cat /proc/sys/kernel/random/boot_id)" ] &&
  [ $(( $(date +%s) - $(stat -c %Y .) )) -lt 3 ]; then state=running; fi
if [ -e exit ]; then echo finished; cat exit; else echo $state; fi
"""
)
_FETCH = """cd JOB || exit 1
file=
for name in result.jsonl.partial result.jsonl; do [ -e $name ] && file=$name; done
if [ "$file" ]; then
  set -- $(sha256sum $file); digest=$1; set -- $(stat -c %s $file)
  echo $digest $1; cat $file
else echo none; fi
tail -c 2000 stderr 2>/dev/null
true
"""
_LOCK = (
    _ALIVE
    + f"""mkdir -p {ROOT}/jobs && cd {ROOT} || exit 1
if mkdir lock 2>/dev/null; then
  echo MINE > lock/holder && touch lock/heartbeat && echo taken; exit
fi
echo held
silent=$(( $(date +%s) - $(stat -c %Y lock/heartbeat 2>/dev/null || stat -c %Y lock) ))
for job in jobs/*; do ( cd $job 2>/dev/null && [ ! -e exit ] && alive ) && silent=0; done
echo $silent
cat lock/holder 2>/dev/null
true
"""
)
_SEIZE = f"""cd {ROOT} || exit 1
[ "$(cat lock/holder 2>/dev/null)" = THEIRS ] || exit 1
touch lock/heartbeat && echo MINE > lock/holder.new && mv lock/holder.new lock/holder
"""
_RESTORE = f"""cd {ROOT}/changes 2>/dev/null || exit 0
for change in *.sh; do
  [ -e "$change" ] || continue
  if sh "$change" >/dev/null 2>&1; then rm "$change"; else echo "${{change%.sh}}"; fi
done
cd .. && rmdir changes 2>/dev/null
true
"""

# Undoes every change when the host is gone: no sign of life for long, and no job that runs. It
# looks twice a minute, and ends when there is nothing left to undo.
_WATCHDOG = f"""mkdir -p {ROOT}/changes && cat > {ROOT}/watchdog.sh <<'END_OF_WATCHDOG'
{_ALIVE}cd {ROOT} || exit 1
while [ -d changes ]; do
  sleep ${{1:-30}}
  for job in jobs/*; do ( cd $job 2>/dev/null && [ ! -e exit ] && alive ) && continue 2; done
  silent=$(( $(date +%s) - $(stat -c %Y lock/heartbeat 2>/dev/null || echo 0) ))
  [ $silent -lt {2 * LOCK_EXPIRES_SECONDS} ] && continue
  for change in changes/*.sh; do [ -e "$change" ] && sh "$change" && rm "$change"; done
  rmdir changes
done
rm -f watchdog.pid
END_OF_WATCHDOG
cd {ROOT}
if ! kill -0 $(cat watchdog.pid 2>/dev/null) 2>/dev/null; then
  setsid sh watchdog.sh </dev/null >/dev/null 2>&1 &
  echo $! > watchdog.pid
fi
"""
