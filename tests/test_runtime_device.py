"""Logical devices are bound to this machine's, or refused in one line."""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ir.command import Error, Exit
from runtime.binding import grouped
from runtime.cpu.memory import HUGE, allocate
from runtime.cpu.threads import share_out
from runtime.devices import open_executor
from runtime.fit import DoesNotFit
from tests.plans import compiled, one_device, opened


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"binding": "cpu:0"}, "--devices cpu:0: 1 named, expected 2 as in the plan"),
        ({"binding": "cpu:0,cpu:0,cpu:0"}, ": 3 named, expected 2 as in the plan"),
        ({"binding": "cpu:0,gpu:1"}, "unknown device 'gpu:1', expected cpu:0, cpu:1, ..."),
        (
            {"binding": "cuda:0,cuda:0"},
            "'cuda:0' cannot run what was built for cpu, expected cpu:0, cpu:1, ...",
        ),
        ({"binding": ""}, "unknown device ''"),
        ({"threads": 0}, "--threads 0: expected at least 1"),
    ],
)
def test_an_impossible_binding_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Error) as caught:
        opened(**options)
    assert complaint in str(caught.value)


def test_threads_are_shared_out() -> None:
    def shares(names: str, threads: int) -> list[tuple[tuple[int, ...], int]]:
        bound = grouped(names.split(","))
        return [(p.logical, n) for p, n in zip(bound, share_out(bound, threads), strict=True)]

    assert shares("cpu:0,cpu:1", 8) == [((0,), 4), ((1,), 4)]
    assert shares("cpu:0,cpu:1", 5) == [((0,), 2), ((1,), 3)]
    assert shares("cpu:0,cpu:1", 1) == [((0,), 1), ((1,), 1)]
    assert shares("cpu:0,cpu:0", 8) == [((0, 1), 8)]
    assert shares("cpu:1,cpu:0,cpu:1", 2) == [((0, 2), 1), ((1,), 1)]
    assert share_out(grouped(["cpu:0"]), None) == [len(os.sched_getaffinity(0))]


def test_too_large_a_plan_is_refused() -> None:
    plan = one_device()
    large = msgspec.structs.replace(plan.devices[0], arena=2**45)
    with pytest.raises(DoesNotFit, match=r"needs 35184\.37 GB of memory") as caught:
        opened(msgspec.structs.replace(plan, devices=(large,)))
    assert caught.value.exit == Exit.NO_FIT


def test_a_kernel_changed_after_the_check_is_refused(tmp_path: Path) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    file = tmp_path / "plan" / "lib" / "halve.so"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(Error, match="has sha256"):
        open_executor(one_device(), tmp_path / "plan")
    file.unlink()
    with pytest.raises(Error, match="cannot be read"):
        open_executor(one_device(), tmp_path / "plan")


def test_a_library_without_the_kernel_is_refused() -> None:
    plan = one_device()
    kernel = plan.kernels["halve"]
    code = msgspec.structs.replace(kernel.code, symbol="double")
    kernel = msgspec.structs.replace(kernel, code=code)
    with pytest.raises(Error, match=r"halve\.so: cannot be loaded, expected 'double'") as caught:
        opened(msgspec.structs.replace(plan, kernels={"halve": kernel}))
    assert "\n" not in str(caught.value)


def test_memory_lies_at_a_huge_page_and_is_zero() -> None:
    for size in (1, HUGE + 64):
        area = allocate(size)
        assert area.size == size
        assert area.ctypes.data % HUGE == 0
        assert not area.any()
    with pytest.raises(DoesNotFit, match="GB of memory refused: Cannot allocate memory"):
        allocate(2**61)
