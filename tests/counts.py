"""How many cases a property is tried on: a sample, or all of them under `--full`."""

from hypothesis import settings


def cases(full: int, sample: int) -> settings:
    """Decorate a property test: `@cases(full=1000, sample=60)`."""
    # conftest loads the profile before any test module is imported.
    everything = settings.get_current_profile_name() == "full"
    return settings(max_examples=full if everything else sample)
