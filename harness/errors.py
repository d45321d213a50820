"""One taxonomy of errors, each with its advice.

An error says what went wrong and names the thing (`message`), then what to do about it
(`advice`). Bugs are not wrapped: they keep their traceback.
"""

from __future__ import annotations


class HarnessError(Exception):
    """A failure that the harness understands: what happened, and the way out of it."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    @property
    def kind(self) -> str:
        """The name that records and reports use for this sort of failure."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message}\n  {self.advice}" if self.advice else self.message


class PlanError(HarnessError):
    """The plan or the command line is wrong; nothing was started."""


class ExportError(HarnessError):
    """A model could not become an artifact."""


class RunnerPackError(HarnessError):
    """A native runner could not be built, fetched or verified."""


class SweepError(HarnessError):
    """A sweep folder is missing, foreign, damaged, or disagrees with what was asked."""


class StorageError(HarnessError):
    """The host could not write or read its own files (a full disk, permissions)."""


class DeviceError(HarnessError):
    """A device did not do what was asked of it."""


class DeviceNotFound(DeviceError):
    """No attached device has this name."""


class DeviceLost(DeviceError):
    """The device went away; what runs on it may still finish."""


class NotSupported(DeviceError):
    """The device cannot do what the plan asks of it, however often it is asked."""


class DeviceUnfit(DeviceError):
    """A device is in no state to be measured; nothing was started."""


class CommandFailed(DeviceError):
    """A command on the device ended with an error."""


class CommandTimeout(DeviceError):
    """A command on the device did not end in time."""


class EnergyRefused(HarnessError):
    """Energy cannot be measured on this device as it is; the other passes go on."""


class CalibrationRefused(HarnessError):
    """A fuel gauge does not show what would tell its sign, its unit or its period."""


class MeterError(HarnessError):
    """An external power meter is missing, or does not do what it is asked."""


class Stopped(HarnessError):
    """The user wants to stop: what runs is ended in good order."""


class RunnerError(HarnessError):
    """The runner started and did not deliver a good result."""


class RunnerCrashed(RunnerError):
    """The runner ended without a complete result."""


class RunnerTimeout(RunnerError):
    """The runner was still busy at its deadline and was killed."""


class RunnerFailed(RunnerError):
    """The runner reported an error of its own (a model that will not load, say)."""


class BadRecord(RunnerError):
    """A result file is not what the record format says it must be."""


class WrongOutput(RunnerError):
    """The outputs on the device are too far from the eager model's."""
