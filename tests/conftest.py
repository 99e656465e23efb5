import atexit
import gc
import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from tests import mode

# Tests make many small objects that live long, and next to no cycles: looking for garbage as often
# as Python does takes a fifth of their time.
gc.set_threshold(100_000, 20, 20)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="every case, where a sample would do")
    parser.addoption("--exact", action="store_true", help="CPU kernels without minimal filtering")
    parser.addoption("--plans", metavar="FOLDER", help="what tests.gpu.build made")
    parser.addoption("--seconds", type=float, help="begin no test on a GPU after that long")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _share_kernels()
    settings.register_profile(
        "sample",
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.too_slow,
        ],
    )
    settings.register_profile("full", settings.get_profile("sample"))
    mode.choose(exact=config.getoption("exact"))
    settings.load_profile("full" if config.getoption("full") else "sample")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("full"):
        left = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_collection_finish() -> None:
    """What was imported and collected stays: nobody looks through it again."""
    gc.collect()
    gc.freeze()


def _share_kernels() -> None:
    """A folder for what the processes of this run compile by commands (`tests/built.py`)."""
    folder = tempfile.mkdtemp(prefix="kernels-")
    os.environ["TANDEM_TEST_KERNELS"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
