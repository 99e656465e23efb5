"""What is needed and free is told, and the batch that would fit does."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ir.command import Exit
from ir.plan import Plan
from runtime.cpu import memory
from runtime.fit import DoesNotFit, Need, largest_batch, require, table
from tests.counts import cases
from tests.plans import LANES, two_devices

MB = 10**6


def of_batch(batch: int) -> Plan:
    plan = two_devices()
    programs = {name: replace(p, batch=batch) for name, p in plan.programs.items()}
    return replace(plan, programs=programs)


def need(batch: int, fixed: int, each: int, free: int | None) -> Need:
    """A device that needs `fixed` bytes, and `each` for every image of whole blocks."""
    parts = {"arena": fixed + each * -(-batch // LANES) * LANES, "scratch": 0}
    return Need("cuda:0", parts, fixed, free)


amounts = st.integers(1, 1000)


@cases(full=500, sample=100)
@given(batch=st.integers(1, 200), fixed=amounts, each=amounts, free=st.integers(0, 250_000))
def test_the_batch_told_fits_and_no_larger_one_does(
    batch: int, fixed: int, each: int, free: int
) -> None:
    plan, found = of_batch(batch), need(batch, fixed, each, free)
    best = largest_batch(plan, [found])
    assert best == batch or best % LANES == 0
    if best:
        assert need(best, fixed, each, free).fits
    if best < batch:
        assert not need(best + 1, fixed, each, free).fits
    if found.fits:
        require(plan, [found])
        assert best == batch
    else:
        with pytest.raises(DoesNotFit) as caught:
            require(plan, [found])
        assert (f"about {best} or less" in str(caught.value)) == (best > 0)


def test_the_smallest_device_decides() -> None:
    plan = of_batch(128)
    roomy, tight = (need(128, 0, MB, free * MB) for free in (1000, 100))
    assert largest_batch(plan, [roomy, tight]) == largest_batch(plan, [tight]) == 96


def test_a_refusal_shows_the_table() -> None:
    found = need(64, 3 * MB, MB, 40 * MB)
    with pytest.raises(DoesNotFit, match=r"needs 0\.07 GB of memory on cuda:0, 0\.04 GB") as caught:
        require(of_batch(64), [found])
    assert caught.value.exit == Exit.NO_FIT
    lines = [" ".join(line.split()) for line in str(caught.value).splitlines()[1:]]
    assert lines == [
        "cuda:0 arena 67.0 MB",
        "cuda:0 scratch 0.0 MB",
        "cuda:0 in all 67.0 MB",
        "cuda:0 free 40.0 MB",
    ]


def test_where_nothing_is_known_it_is_tried() -> None:
    unknown = need(64, 0, MB, None)
    require(of_batch(64), [unknown])
    assert not any("free" in line for line in table([unknown]))


def test_a_container_s_limit_leaves_what_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    system = memory.available()
    assert system is not None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 300\nfile 500\nkernel 20\nshmem 100\n")
    assert memory.available() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() is not None
