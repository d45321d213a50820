"""Where the calibrations of fuel gauges are kept: one file a device's fingerprint, in the cache folder.

Not here: how a gauge is calibrated (`measure/gauge_calibration.py`).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pydantic import ValidationError

from harness.schema.power import Calibration
from harness.storage.cache import cache_folder
from harness.storage.files import write_whole


def calibration_path(fingerprint: str) -> Path:
    """Return where the calibration of a device is kept; it may not exist."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", fingerprint)[:100]
    if name != fingerprint or name.startswith("."):
        name += "-" + hashlib.sha256(fingerprint.encode()).hexdigest()[:12]
    return cache_folder() / "calibration" / f"{name}.json"


def read_calibration(fingerprint: str) -> Calibration | None:
    """Return what is known of a device's gauge; None if it was never calibrated, or not legibly."""
    try:
        content = calibration_path(fingerprint).read_bytes()
        found = Calibration.model_validate_json(content)
    except (OSError, ValidationError):
        return None
    return found if found.fingerprint == fingerprint else None


def store_calibration(calibration: Calibration) -> Path:
    """Keep a calibration, in the place of an older one; return where. Raises StorageError."""
    path = calibration_path(calibration.fingerprint)
    write_whole(path, calibration.model_dump_json(indent=1).encode() + b"\n")
    return path
