"""An Android phone over adb: jobs that outlive the cable, and a phone left as it was found.

Everything of ours on the phone lies in one folder, which the shell user may write and execute from:

    store/SHA256        models and check inputs, each verified by its hash
    packs/KEY/          runner packs
    jobs/LAUNCH/        one job: what supervise and the runner write, until it is forgotten
    lock/               who uses the phone, and a file whose time is the last sign of life
    changes/NAME.sh     how to undo a changed setting, written before it is changed

Not here: talking (`adb.py`), what runs on the phone (`android_scripts.py`), what answers mean
(`android_facts.py`), settings (`android_settings.py`).
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.cancellation import Cancellation
from harness.devices import kernel_files as probes
from harness.devices import monsoon as meter
from harness.devices.android import facts, power, queue, scripts
from harness.devices.android.adb import Adb, Output, list_phones, longest_push_seconds
from harness.devices.android.scripts import ROOT
from harness.devices.android.settings import STAY_AWAKE_UNPLUGGED, Change, wanted_changes
from harness.devices.base import Attached, JobExit, JobResult, JobStatus, QueueView, Recorder
from harness.devices.calibrations import read_calibration
from harness.devices.processes import start_ticks
from harness.errors import (
    CommandFailed,
    CommandTimeout,
    DeviceError,
    DeviceLost,
    DeviceNotFound,
    HarnessError,
    NotSupported,
)
from harness.runners.pack import RunnerPack
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.job import Job, Pass, Probe
from harness.schema.plan import DeviceSettings
from harness.schema.power import PowerSource

_FREE_MARGIN_BYTES = 64 << 20
_TRANSFER_TRIES = 3
_HASH_WHILE_PUSHING_BYTES = 4 << 20

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


@dataclass(frozen=True)
class Timing:
    """How patient a host is, and how long it may be silent.

    `patience_seconds`: how long a phone that went away may take to come back (a cable, a reboot).
    A holder of the lock without a sign of life for `lock_expires_seconds`, and without a running
    job, is gone; twice that, and the watchdog, which looks every `watchdog_seconds`, undoes what
    it had changed.
    """

    patience_seconds: float = 90.0
    lock_expires_seconds: int = 60
    heartbeat_seconds: float = 15.0
    watchdog_seconds: int = 30
    await_seconds: float = 20.0


def discover() -> list[Attached]:
    """List every phone that adb knows, with what to do about those that cannot be used."""
    try:
        listed = list_phones()
    except DeviceError as error:
        return [Attached("adb", error.message, error.advice)]
    found = []
    for serial, state in listed.items():
        if state != "device":
            found.append(Attached(serial, state, _explain_state(state)))
            continue
        try:
            info, _ = _identify(serial, Adb(serial).try_shell(scripts.IDENTIFY))
            found.append(Attached(serial, "ready", info=info))
        except DeviceError as error:
            found.append(Attached(serial, "does not answer", error.message))
    return found


def open_device(serial: str, purpose: str) -> AndroidPhone:
    """Open a phone for use, and take its lock."""
    return AndroidPhone(serial, purpose)


def read_power_sources(serial: str) -> Sequence[PowerSource]:
    """Return a phone's sources of power, without its lock."""
    answer = Adb(serial).shell(facts.ask({**facts.IDENTITY, **power.ASK}) + "\ntrue").text
    info, _ = facts.describe(serial, answer)
    return _describe_sources(answer, info)


class AndroidPhone:
    """One phone, held by this harness until `close`.

    Every script it sends can be sent twice: when the phone goes away, it is waited for, and asked
    again.
    """

    def __init__(self, serial: str, purpose: str, timing: Timing | None = None) -> None:
        self._serial, self._adb = serial, Adb(serial)
        self._timing = timing or Timing()
        state = self._adb.state()
        if state != "device":
            raise DeviceNotFound(
                f"{serial} cannot be used: adb says {state}", _explain_state(state)
            )
        self._token = uuid.uuid4().hex
        self._boot = ""
        self._given_up = self._measuring = False
        self._settings = DeviceSettings()
        self._forgotten: list[str] = []
        self._readable: probes.Readable | None = None
        self._closed = threading.Event()
        if not self._is_back(time.monotonic() + self._timing.patience_seconds, None):
            raise DeviceLost(f"{serial} does not finish booting", "Look at its screen.")
        self.info, self._cores = _identify(serial, self._ask(scripts.IDENTIFY))
        self._take_lock(purpose)
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            self._sizes = self._list_store()
            self.restore()
        except BaseException:
            self.close()
            raise

    # --- what the sweep asks ------------------------------------------------------------------

    def conditions(self) -> Conditions:
        """Read load, memory, battery, temperature and clocks."""
        answer = self._shell(facts.ask(facts.CONDITIONS) + "\ntrue").text
        return facts.parse_conditions(answer, time.time())

    def apply(self, settings: DeviceSettings) -> None:
        """Change settings; how to undo each is on the phone before it is changed."""
        before, self._settings = self._settings, settings
        try:
            self._change(wanted_changes(settings))
        except NotSupported:  # nor is it after a reboot
            self._settings = before
            raise

    def resolve_cores(self, affinity: str) -> tuple[int, ...]:
        """Return the cores of the highest ("big") or lowest ("little") clock."""
        cores = facts.select_cores(affinity, self._cores)
        if cores is None:
            raise NotSupported(
                f"{self.info.id} has no {affinity} cores: its cores' clocks are "
                f"{self.info.details['max_clocks_khz']} kHz",
                'Use affinity "all", or name cores by their numbers.',
            )
        return cores

    def probes(self, measured_pass: Pass) -> Sequence[Probe]:
        """Return what the phone lets be read while a launch of that pass runs."""
        if self._readable is None:
            answer = self._shell(facts.ask(probes.ASK) + "\ntrue").text
            self._readable = probes.parse_readable(facts.sections(answer))
        return probes.make_probes(self._readable, measured_pass)

    def power_sources(self) -> Sequence[PowerSource]:
        """Return the phone's rails and its fuel gauge, as they are now, and an external meter."""
        answer = self._shell(facts.ask(power.ASK) + "\ntrue").text
        return _describe_sources(answer, self.info)

    def recorder(self, source: PowerSource) -> Recorder | None:
        """Return what records rails or a meter; None for the gauge, which the runner reads."""
        match source.kind:
            case "rails":
                return power.RailsRecorder(self._shell)
            case "meter":
                return meter.MeterRecorder(self.read_clock)
        return None

    def read_current(self, source: PowerSource) -> float | None:
        """Read the gauge's raw current now; None if it does not read as a number."""
        script = power.make_reading(source)
        return None if script is None else power.parse_reading(source, self._try(script).text)

    def read_clock(self) -> tuple[int, int]:
        """Read the phone's CLOCK_MONOTONIC before and after next to nothing.

        No tool of the shell tells that clock: /proc/uptime has another, in hundredths of a second. But
        the supervisor in every pack notes when what it started began and ended.
        """
        folder = f"{ROOT}/clock"
        answer = self._shell(
            f"rm -rf {folder}; mkdir -p {folder} && set -- {ROOT}/packs/*/supervise &&\n"
            f'"$1" {folder} -- /system/bin/sh -c : && cat {folder}/exit; rm -rf {folder}'
        ).text
        try:
            told = JobExit.model_validate_json(answer)
        except ValueError as error:
            raise CommandFailed(f"{self.info.id} does not tell its clock: {answer!r}") from error
        return told.start_ns, told.end_ns

    def stage(self, path: Path, sha256: str) -> str:
        """Bring a file to the phone's store, verified there by its hash, unless it is there."""
        remote = f"{ROOT}/store/{sha256}"
        if self._sizes.get(sha256) != path.stat().st_size:
            self._check_space(path.stat().st_size)
            self._transfer(path, remote, sha256)
            self._sizes[sha256] = path.stat().st_size
        return remote

    def install(self, pack: RunnerPack) -> None:
        """Bring a runner pack to the phone, unless it is there; it appears whole."""
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
        self._shell(
            f"[ -d {folder} ] || {{ chmod -R 755 {partial} && sync && mv {partial} {folder}; }}"
        )

    def start(self, job: Job, pack: RunnerPack) -> None:
        """Start a job in a session of its own, under a supervisor that notes how it ends.

        The number of threads is in the environment too: libtorch for arm64 multiplies with a library
        that takes it from there while it is loaded, and that nobody can reach later.
        """
        folder = f"{ROOT}/jobs/{job.launch}"
        script = f"""{self._removals()}
mkdir -p {folder} && cd {folder} || exit 1
[ -e started ] && exit 0
cat > job.json <<'END_OF_JOB'
{job.model_dump_json()}
END_OF_JOB
echo {_pack_folder(pack)}/supervise > supervise && cat /proc/sys/kernel/random/boot_id > boot &&
  touch started || exit 1
{_supervised(job, pack)} </dev/null >/dev/null 2>&1 &
"""
        self._shell(script)

    def poll(self, launch: str) -> JobStatus:
        """Tell where a job stands, from what its supervisor wrote and from the running system."""
        return _parse_status(self._shell(self._poll_script(launch)).text)

    def wait(self, launch: str, seconds: float, cancellation: Cancellation) -> JobStatus:
        """Wait for a job to end. The phone sleeps meanwhile: nothing polls beside the job."""
        deadline = time.monotonic() + seconds
        self._measuring = True
        try:
            while True:
                left = deadline - time.monotonic()
                slice_seconds = min(max(left, 0.0), self._timing.await_seconds)
                script = (
                    f"cd {ROOT}/jobs/{launch} 2>/dev/null && read -r supervise < supervise &&\n"
                    f'{{ "$supervise" --await . {slice_seconds:.1f} 2>/dev/null\n'
                    "[ $? -le 1 ] || sleep 1; }\n"
                )
                answer = self._try(
                    script + self._poll_script(launch), slice_seconds + 20.0, cancellation
                )
                status = _parse_status(answer.text)
                if status.state != "running" or time.monotonic() >= deadline:
                    return status
        finally:
            self._measuring = False

    def kill(self, launch: str) -> None:
        """End a job with all its processes."""
        script = (
            f"( cd {ROOT}/jobs/{launch} && read pid ticks < pid && kill -9 -$pid ) 2>/dev/null\n"
        )
        deadline = time.monotonic() + 10.0
        # Again and again: a job that was just started cannot be killed before it has a number.
        while _parse_status(self._try(script + self._poll_script(launch)).text).state == "running":
            if time.monotonic() > deadline:
                raise CommandTimeout(f"{self.info.id}: the job {launch} does not end when killed")
            time.sleep(0.1)

    def fetch(self, launch: str) -> JobResult:
        """Collect what a job left, verified by its hash on the phone."""
        script = scripts.FETCH.replace("@JOB@", f"{ROOT}/jobs/{launch}")
        for _ in range(_TRANSFER_TRIES):
            header, _, rest = self._shell(script, seconds=120.0).stdout.partition(b"\n")
            if header == b"none":
                return JobResult(None, rest.decode("utf-8", "replace"))
            digest, _, size = header.decode("ascii", "replace").partition(" ")
            record_bytes = int(size) if size.isdigit() else 0
            record, stderr = rest[:record_bytes], rest[record_bytes:]
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
        self._settings = DeviceSettings()
        left = self._shell(scripts.RESTORE, seconds=60.0).text.split()
        if left:
            raise CommandFailed(
                f"{self.info.id}: could not undo: {', '.join(left)}",
                f"The scripts in {ROOT}/changes on the phone say what to do; run one with adb shell.",
            )

    def close(self) -> None:
        """Let go of the phone."""
        self._closed.set()
        with contextlib.suppress(HarnessError):
            guard = scripts.GUARD.replace("@TOKEN@", self._token)
            self._adb.try_shell(f"{guard}{self._removals()}rm -rf {ROOT}/lock")

    def clean(self) -> int:
        """Remove everything of ours from the phone, jobs that run too; return the bytes it held."""
        for launch in self.jobs():
            if self.poll(launch).state == "running":
                self.kill(launch)
        used = self._shell(f"du -sk {ROOT}").text.split()
        self._closed.set()
        self._shell(f"rm -rf {ROOT}", seconds=120.0)
        return int(used[0]) * 1024

    def _change(self, changes: Sequence[Change]) -> None:
        """Change settings, each with its undo on the phone first. Raises NotSupported."""
        if changes:
            silent_seconds = 2 * self._timing.lock_expires_seconds
            watchdog = scripts.WATCHDOG.replace("@PERIOD@", str(self._timing.watchdog_seconds))
            self._shell(watchdog.replace("@SILENT@", str(silent_seconds)))
        for change in changes:
            # What is there already is how the phone was found: it has rebooted since.
            undo = f"{ROOT}/changes/{change.name}.sh"
            self._shell(
                f"[ -e {undo} ] || {{ {{ {change.make_undo}\n}} > {undo}.new && sync && "
                f"mv {undo}.new {undo}; }}"
            )
            if self._try(change.change).exit_code != 0:
                self._shell(f"sh {undo} >/dev/null 2>&1; rm {undo}")
                raise NotSupported(
                    f"{self.info.id}: {change.name} cannot be switched on", change.advice
                )

    def _poll_script(self, launch: str) -> str:
        return scripts.POLL.replace("@JOB@", f"{ROOT}/jobs/{launch}")

    def _removals(self) -> str:
        """Return the command that removes what was forgotten; a round trip of its own is saved."""
        folders, self._forgotten = self._forgotten, []
        return f"rm -rf {' '.join(folders)}\n" if folders else ""

    # --- while no cable feeds it ---------------------------------------------------------------

    def enqueue(
        self,
        jobs: Sequence[tuple[Job, RunnerPack]],
        patience_seconds: int,
        rest_seconds: int,
    ) -> None:
        """Leave jobs with the phone that it starts by itself, in turn, while it runs on its battery.

        It gives up after `patience_seconds` of waiting for that, and may rest `rest_seconds` before a job.
        """
        self.cancel_queue()
        self._change([STAY_AWAKE_UNPLUGGED])
        queued = [
            queue.QueuedJob(
                job.launch,
                job.model_dump_json(),
                f"{_pack_folder(pack)}/supervise",
                f"{_supervised(job, pack)} </dev/null >/dev/null 2>&1",
            )
            for job, pack in jobs
        ]
        self._shell(queue.make_script(queued, patience_seconds, rest_seconds))

    def look_at_queue(self) -> QueueView | None:
        """Tell how many jobs are left, and whether a charger feeds the phone; None if it is away.

        It is not waited for then, by nothing that is asked of it, until it is seen here again.
        """
        try:
            if self._adb.state() == "device":
                guard = scripts.GUARD.replace("@TOKEN@", self._token)
                answer = self._adb.try_shell(guard + queue.LOOK)
                self._given_up = False
                return queue.parse_look(answer.text) if answer.exit_code == 0 else None
        except DeviceError:  # it is just going, or coming
            pass
        self._given_up = True
        return None

    def cancel_queue(self) -> None:
        """Forget the jobs that have not begun; one that runs goes on."""
        self._shell(queue.CANCEL)

    # --- talking ------------------------------------------------------------------------------

    def _shell(self, script: str, seconds: float = 20.0) -> Output:
        """Run a script under our lock; raises CommandFailed unless it ends well."""
        output = self._try(script, seconds)
        if output.exit_code != 0:
            words = (output.stderr or output.stdout).decode("utf-8", "replace").strip()[-300:]
            raise CommandFailed(f"{self.info.id}: exit code {output.exit_code}: {words}")
        return output

    def _try(
        self, script: str, seconds: float = 20.0, cancellation: Cancellation | None = None
    ) -> Output:
        """Run a script under our lock; a phone that goes away is waited for and asked again."""
        output = self._ask(
            scripts.GUARD.replace("@TOKEN@", self._token) + script, seconds, cancellation
        )
        if output.exit_code == scripts.LOST_LOCK:
            raise DeviceLost(
                f"{self.info.id} was taken over by another host while this one was silent",
                "Wait until it is done, then go on with `phonebench run --resume`.",
            )
        return output

    def _ask(
        self, script: str, seconds: float = 20.0, cancellation: Cancellation | None = None
    ) -> Output:
        """Run a script; a phone that goes away is waited for and asked again."""
        until = time.monotonic() + self._timing.patience_seconds
        while True:
            try:
                return self._adb.try_shell(script, seconds, cancellation)
            except DeviceLost:
                if not self._is_back(until, cancellation):
                    raise

    def _is_back(self, until: float, cancellation: Cancellation | None) -> bool:
        """Wait for a phone until it is there and has booted; False when patience ends, for good."""
        while time.monotonic() < until and not self._given_up:
            with contextlib.suppress(DeviceError):
                if self._adb.state() == "device":
                    booted, _, boot = self._adb.try_shell(scripts.BOOT, 10.0).text.partition("\n")
                    if booted.strip() == "1":
                        break
            if cancellation is not None and cancellation.is_set():
                self._given_up = True
            time.sleep(0.25)
        else:
            self._given_up = True
            return False
        before, self._boot = self._boot, boot
        if before not in ("", boot):
            self._apply_again()
        return True

    def _apply_again(self) -> None:
        """Change the settings anew after a reboot: some do not survive one."""
        try:
            self.apply(self._settings)
        except DeviceError as error:
            self._given_up = True
            raise DeviceLost(
                f"{self._serial} rebooted, and its settings cannot be changed again: "
                f"{error.message}",
                error.advice,
            ) from error

    def _transfer(self, source: Path, remote: str, sha256: str) -> None:
        """Push a file; it gets its name when its hash on the phone is right, else is sent again."""
        partial = f"{remote}.partial"
        self._shell(f"rm -f {remote} {partial}")
        for _ in range(_TRANSFER_TRIES):
            is_right = self._push(source, partial) == sha256
            check = f'set -- $(sha256sum {partial})\n[ "$1" = {sha256} ] && '
            accept = f"{'' if is_right else check}sync && mv {partial} {remote}\n[ -e {remote} ]"
            if self._try(accept, seconds=120.0).exit_code == 0:
                return
            self._shell(f"rm -f {partial}")
        raise CommandFailed(
            f"{self.info.id}: {source.name} arrives damaged, {_TRANSFER_TRIES} times over",
            "Try another cable or port.",
        )

    def _push(self, source: Path, remote: str) -> str:
        """Push a file; return its hash on the phone, or "" if that has still to be computed."""
        until = time.monotonic() + self._timing.patience_seconds
        try:
            return self._push_hashed(source, remote)
        except DeviceLost:
            while self._is_back(until, None):
                with contextlib.suppress(DeviceLost):
                    self._adb.push(source, remote)
                    return ""
            raise

    def _push_hashed(self, source: Path, remote: str) -> str:
        """Push a new file while the phone hashes what has arrived; return that hash, or ""."""
        size_bytes = source.stat().st_size
        if size_bytes < _HASH_WHILE_PUSHING_BYTES:
            self._adb.push(source, remote)
            return ""
        script = scripts.FOLLOW.replace("@FILE@", remote).replace("@SIZE@", str(size_bytes))
        with (
            contextlib.closing(Cancellation()) as failed,
            ThreadPoolExecutor(max_workers=1) as pool,
        ):
            seconds = 60.0 + longest_push_seconds(size_bytes)
            hashing = pool.submit(self._adb.try_shell, script, seconds, failed)
            try:
                self._adb.push(source, remote)
            except BaseException:
                failed.set()
                raise
            with contextlib.suppress(DeviceError):
                return hashing.result().text.partition(" ")[0]
        return ""

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
                _FREE_SPACE,
            )

    # --- the lock -----------------------------------------------------------------------------

    def _take_lock(self, purpose: str) -> None:
        """Take the phone's lock, from a holder that is gone too. Raises DeviceError naming it."""
        holder = {
            "token": self._token,
            "host": socket.gethostname(),
            "user": getpass.getuser(),
            "pid": os.getpid(),
            "started": start_ticks(os.getpid()),
            "purpose": purpose,
        }
        mine = shlex.quote(json.dumps(holder))
        answer = self._ask(scripts.LOCK.replace("@MINE@", mine).replace("@TOKEN@", self._token))
        if answer.exit_code != 0:
            words = answer.stderr.decode("utf-8", "replace").strip()[-300:]
            raise CommandFailed(f"{self._serial}: cannot make {ROOT}/lock: {words}", _FREE_SPACE)
        state, _, rest = answer.text.partition("\n")
        if state == "taken":
            return
        age, _, theirs = rest.partition("\n")
        expires_seconds = self._timing.lock_expires_seconds
        if not _is_gone(theirs.strip(), silent=int(age) >= expires_seconds):
            raise DeviceError(
                f"{self._serial} is in use by {_name_holder(theirs)}",
                f"Wait until it is done. A host that has died lets go after "
                f"{expires_seconds} s, or when its job has ended.",
            )
        seize = scripts.SEIZE.replace("@MINE@", mine).replace(
            "@THEIRS@", shlex.quote(theirs.strip())
        )
        if self._ask(seize.replace("@TOKEN@", self._token)).exit_code != 0:
            raise DeviceError(f"{self._serial} was taken by another host just now", "Wait for it.")

    def _beat(self) -> None:
        """Give a sign of life while no job runs; a running job is one itself."""
        while not self._closed.wait(self._timing.heartbeat_seconds):
            if not self._measuring:
                with contextlib.suppress(HarnessError, OSError):
                    self._adb.try_shell(scripts.GUARD.replace("@TOKEN@", self._token))


def find_holder(adb: Adb) -> str | None:
    """Name who uses a phone now, "" if nobody does; None if the phone does not tell."""
    age, _, holder = adb.try_shell(f"[ -d {ROOT}/lock ] || exit 0\n{scripts.HELD}").text.partition(
        "\n"
    )
    if not age:
        return ""
    if not age.isdigit():
        return None
    silent = int(age) >= Timing().lock_expires_seconds
    return "" if _is_gone(holder.strip(), silent=silent) else _name_holder(holder)


def _identify(serial: str, answer: Output) -> tuple[DeviceInfo, tuple[facts.Core, ...]]:
    return facts.describe(serial, answer.text)


def _describe_sources(answer: str, info: DeviceInfo) -> tuple[PowerSource, ...]:
    calibration = read_calibration(info.fingerprint)
    found = power.describe_sources(facts.sections(answer), calibration, info.id)
    return (*found, meter.describe_source())


def _explain_state(state: str) -> str:
    """Return what to do about a phone that adb does not show as "device"."""
    return next((advice for name, advice in _STATES.items() if state.startswith(name)), "")


def _pack_folder(pack: RunnerPack) -> str:
    return f"{ROOT}/packs/{pack.key}"


def _supervised(job: Job, pack: RunnerPack) -> str:
    """Return the command that runs a job in its own folder, under a supervisor, to its end."""
    folder, packed = f"{ROOT}/jobs/{job.launch}", _pack_folder(pack)
    command = " ".join(pack.command_in(packed))
    return (
        f"OMP_NUM_THREADS={job.threads} setsid {packed}/supervise . -- {command} "
        f"{folder}/job.json {folder}/result.jsonl"
    )


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


def _is_gone(holder: str, *, silent: bool) -> bool:
    """Tell whether the lock's holder is gone: silent for long, or a dead process of this computer."""
    if silent:
        return True
    try:
        known = json.loads(holder)
        here = bool(known["host"] == socket.gethostname())
        return here and start_ticks(known["pid"]) != known["started"]
    except (ValueError, KeyError, TypeError):
        return False


def _name_holder(holder: str) -> str:
    try:
        known = json.loads(holder)
        return f"{known['user']} on {known['host']} (process {known['pid']}: {known['purpose']})"
    except (ValueError, KeyError, TypeError):
        return "somebody"


_FREE_SPACE = "Free some space on the phone; `phonebench clean` removes what is ours."
