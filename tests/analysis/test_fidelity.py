"""Comparing outputs with the reference: pure functions, no model."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.fidelity import compare, is_good_enough
from harness.errors import WrongOutput
from harness.schema.artifact import Fidelity

REFERENCE = {
    "0/0": np.array([[1.0, 2.0, 3.0]], np.float32),
    "1/0": np.array([[3.0, 2.0, 1.0]], np.float32),
}


def scaled(factor: float) -> dict[str, npt.NDArray[np.float32]]:
    return {key: (values * factor).astype(np.float32) for key, values in REFERENCE.items()}


def test_equal_outputs_are_exact_and_have_no_sqnr() -> None:
    fidelity = compare(REFERENCE, scaled(1))
    assert fidelity.exact
    assert fidelity.sqnr_db is None
    assert (fidelity.samples, fidelity.max_abs_error, fidelity.top1_agreement) == (2, 0.0, 1.0)


def test_an_error_of_a_tenth_of_the_signal_is_20_db() -> None:
    fidelity = compare(REFERENCE, scaled(1.1))
    assert fidelity.sqnr_db == pytest.approx(20, abs=1e-4)
    assert fidelity.cosine == pytest.approx(1)
    assert fidelity.max_abs_error == pytest.approx(0.3, rel=1e-5)


def test_agreement_counts_each_row_of_a_batch() -> None:
    reference = {"0/0": np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])}
    output = {"0/0": np.array([[2.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 0.0]])}
    assert compare(reference, output).top1_agreement == 0.75


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("floor", [None, -1000.0, 8.0])
def test_nan_and_infinity_never_count_as_good(bad: float, floor: float | None) -> None:
    outputs = scaled(1)
    outputs["1/0"][0, 1] = bad
    for one, other in ((REFERENCE, outputs), (outputs, REFERENCE), (outputs, outputs)):
        fidelity = compare(one, other)
        assert not fidelity.exact
        assert fidelity.sqnr_db is None
        assert not is_good_enough(fidelity, floor)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"0/0": REFERENCE["0/0"]}, "output 0 of check sample 1 is missing"),
        (REFERENCE | {"1/1": REFERENCE["0/0"]}, "is not one that the eager model gives"),
        (REFERENCE | {"1/0": np.zeros((1, 4))}, r"has the shape \[1, 4\].* gives \[1, 3\]"),
    ],
)
def test_outputs_of_another_structure_are_refused(
    outputs: dict[str, npt.NDArray[np.float32]], message: str
) -> None:
    with pytest.raises(WrongOutput, match=message):
        compare(REFERENCE, outputs)


def test_without_signal_nothing_but_equality_is_good() -> None:
    zeros = {"0/0": np.zeros(3)}
    assert is_good_enough(compare(zeros, zeros), 60)
    assert not is_good_enough(compare(zeros, {"0/0": np.full(3, 1e-9)}), 60)


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20),
    st.lists(st.floats(-1e300, 1e300), min_size=20, max_size=20),
)
def test_every_finite_comparison_can_be_stored_and_read_back(
    reference: list[float], other: list[float]
) -> None:
    fidelity = compare({"0/0": np.array(reference)}, {"0/0": np.array(other[: len(reference)])})
    assert Fidelity.model_validate_json(fidelity.model_dump_json()) == fidelity
    for value in (fidelity.sqnr_db, fidelity.cosine, fidelity.max_abs_error):
        assert value is None or math.isfinite(value)
