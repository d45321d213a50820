"""A short campaign of faults, on a virtual phone and on this computer: nothing is lost."""

from __future__ import annotations

import pytest

from benchmarks.fault_campaign import FIGURES, campaign

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("device", "launches"), [("android", 40), ("local", 30)])
def test_a_campaign_of_faults_loses_repeats_and_changes_nothing(device: str, launches: int) -> None:
    tally = campaign(device, launches, seed=5)
    assert tally.trouble == []
    assert {name: tally.figures[name] for name in FIGURES} == {
        **dict.fromkeys(FIGURES, 0),
        "launches": launches,
    }
    assert len(tally.faults) > 3, "faults were drawn"
    assert tally.statuses["ok"] > launches / 2
