"""How many cases a property is tried on: a sample, or all of them under `--full`."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings


def cases(full: int, sample: int) -> settings:
    """Decorate a property test: `@cases(full=1000, sample=60)`."""
    # conftest loads the profile before any test module is imported.
    everything = settings.get_current_profile_name() == "full"
    return settings(max_examples=full if everything else sample)


def sampled(every: Sequence[Any], *sample: Any) -> list[Any]:
    """All of them, most under `--full` only."""
    return [each if each in sample else _full(each) for each in every]


def _full(values: Any) -> Any:
    given = values if isinstance(values, tuple) else (values,)
    return pytest.param(*given, marks=pytest.mark.full)
