"""How results of two programs are compared."""

from collections.abc import Mapping

import numpy as np

from ir.eval import Results
from ir.op import Array


def relative_error(value: Array, reference: Array) -> float:
    """max |difference| / max |reference|; 0 when both are all zero."""
    difference = float(np.max(np.abs(value - reference), initial=0.0))
    return difference / scale if (scale := float(np.max(np.abs(reference)))) else difference


def assert_close(value: Array, reference: Array, tolerance: float, what: str) -> None:
    """Fail unless shapes agree and the relative error stays within the tolerance."""
    assert value.shape == reference.shape, what
    error = relative_error(value, reference)
    assert error <= tolerance, f"{what}: relative error {error:.3g} > {tolerance:.3g}"


def assert_same(
    value: Mapping[str, Array], reference: Mapping[str, Array], tolerance: float
) -> None:
    """Fail unless the same names have close values."""
    assert set(value) == set(reference)
    for name, expected in reference.items():
        assert_close(value[name], expected, tolerance, name)


def assert_same_results(value: Results, reference: Results, tolerance: float) -> None:
    """Fail unless outputs, gradients and updates agree."""
    assert_same(value.outputs, reference.outputs, tolerance)
    assert_same(value.gradients, reference.gradients, tolerance)
    assert_same(value.updates, reference.updates, tolerance)
