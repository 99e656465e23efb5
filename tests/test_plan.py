"""A plan is written and read back, and every fault in one is named."""

import json
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir.command import Error, Exit
from ir.plan import VERSION, Plan, check, encode, folder, read, write
from tests.counts import cases
from tests.plans import BYTES, compiled, on_gpus, one_device, two_devices

Json = Any
Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plan/ in it."""
    directory = tmp_path_factory.mktemp("home")
    shutil.copytree(compiled(), directory / "plan")
    return directory


PLANS = {"cpu": two_devices(), "cuda": on_gpus(two_devices())}


@lru_cache
def text(kind: str) -> bytes:
    return encode(PLANS[kind])


def raw(kind: str = "cpu") -> Json:
    return json.loads(text(kind))


def refusal(home: Path, content: bytes) -> str:
    """The one line that refuses it; nothing is written."""
    path = home / "plan.json"
    path.write_bytes(content)
    before = sorted(home.rglob("*"))
    with pytest.raises(Error) as caught:
        read(path)
    message = str(caught.value)
    assert caught.value.exit == Exit.USAGE
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert sorted(home.rglob("*")) == before
    return message.removeprefix(f"{path}: ")


# ------------------------------------------------------------------------------ round trip


@pytest.mark.parametrize("plan", [one_device(), *PLANS.values()], ids=["one", *PLANS])
def test_what_is_written_is_read_and_written_the_same(home: Path, plan: Plan) -> None:
    path = home / "plan.json"
    write(plan, path)
    assert folder(path) == home / "plan"
    assert read(path) == plan
    assert encode(read(path)) == path.read_bytes()


def test_steps_states_and_kernels_have_a_line_each() -> None:
    plan = two_devices()
    lines = [line.strip(", ") for line in encode(plan).decode().splitlines()]
    for record in (*plan.states, *plan.programs["train"].steps, *plan.devices):
        assert json.dumps(msgspec.to_builtins(record), sort_keys=True) in lines


def test_a_plan_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Error, match="cannot be written: No such file or directory"):
        write(one_device(), tmp_path / "none" / "plan.json")
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(Error, match="cannot be written: Is a directory"):
        write(one_device(), tmp_path / "plan.json")
    assert list(tmp_path.iterdir()) == [tmp_path / "plan.json"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"plan\.json: cannot be read: No such file"):
        read(tmp_path / "plan.json")


# ------------------------------------------------------------------------------- mutations


def paths(value: Json, path: Path_ = ()) -> Iterator[tuple[Path_, Json]]:
    """Every place in a plan and what stands there."""
    yield path, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*path, key))


def put(plan: Json, path: Path_, value: Json) -> Json:
    changed = deepcopy(plan)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def without(plan: Json, path: Path_) -> Json:
    changed = deepcopy(plan)
    place = changed
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return changed


LAST = len(two_devices().programs["train"].steps) - 1  # nothing in the program needs it
# Of these any number may be there.
FREE = ({"target"}, {"versions"}, {"programs"})


def mutants(kind: str) -> Iterator[tuple[str, str, Path_]]:
    """(plan, what is done, where), for every place where it makes a broken plan."""
    for path, value in paths(raw(kind)):
        yield from ((kind, what, path) for what in changes(path, value))


def changes(path: Path_, value: Json) -> Iterator[str]:
    """What breaks a plan at a place."""
    if path:
        yield "null"
        yield "another type"
    # As an argument of a launch it means the scratch, as a fill or a mean anything goes.
    if isinstance(value, int) and path[-2:-1] != ("arguments",) and path[-1] != "value":
        yield "negative"
    if isinstance(value, dict):
        yield "unknown key"
    if path and isinstance(path[-1], str) and not (len(path) == 2 and {path[0]} in FREE):
        yield "missing key"
    if len(path) == 4 and path[2] == "steps" and path[3] != LAST:
        yield "missing step"


MUTANTS = [mutant for kind in PLANS for mutant in mutants(kind)]


def mutated(kind: str, what: str, path: Path_) -> Json:
    plan = raw(kind)
    match what:
        case "null":
            return put(plan, path, None)
        case "another type":
            return put(plan, path, [["?"]])
        case "negative":
            return put(plan, path, -1)
        case "unknown key":
            return put(plan, (*path, "surprise"), [])
    return without(plan, path)


@cases(full=len(MUTANTS), sample=200)
@given(mutant=st.sampled_from(MUTANTS))
def test_every_mutated_place_is_refused(home: Path, mutant: tuple[str, str, Path_]) -> None:
    kind, what, path = mutant
    message = refusal(home, json.dumps(mutated(kind, what, path)).encode())
    assert message.startswith("$")
    if what in ("null", "another type", "negative"):
        assert all(str(key) in message for key in path[:2])


@cases(full=1000, sample=60)
@given(kind=st.sampled_from(list(PLANS)), fraction=st.floats(0, 1))
def test_every_cut_is_refused(home: Path, kind: str, fraction: float) -> None:
    whole = text(kind)
    message = refusal(home, whole[: int(fraction * (len(whole) - 2))])
    assert message.startswith("not JSON: ")
    assert "line" in message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\xff{}", "byte 0 is not UTF-8; expected JSON"),
        (b"[]", "$: got array, expected object"),
        (b"{}", "$: Object missing required field version"),
        (b'{"version": 1, "news": 3}', f"$.version: got 1, expected {VERSION}"),
        (b'{"version": 1, "version": 1}', "key 'version' stands twice in one object"),
        (b'{"version": NaN}', "not JSON: got NaN, expected a finite number"),
        (b'{"version": 1, "a\\nb": 1, "a\\nb": 1}', r"key 'a\nb' stands twice in one object"),
        (b"[" * 100000, "maximum recursion depth exceeded"),
        (b'{"version": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ],
)
def test_what_is_no_plan_is_refused(home: Path, content: bytes, complaint: str) -> None:
    assert complaint in refusal(home, content)


TRAIN: Path_ = ("programs", "train")
STEP: Path_ = (*TRAIN, "steps")


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("version",), "1", "$.version: got str, expected int"),
        ((*STEP, 3, "offsets", 1), "a", "$.programs.train.steps[3].offsets[1]: got str, expec"),
        (("binding",), ["cpu:0"], "$.binding: names 1 devices, expected one for each of the pla"),
        (("binding",), ["cpu:0", "cpu"], "$.binding[1]: got 'cpu', expected a device such as cpu"),
        (("binding",), ["cpu:0", "cuda:0"], "$.binding: got cpu:0, cuda:0, expected devices of o"),
        (("binding",), ["cuda:0", "cuda:1"], "code: cannot run on cuda devices, to which the pla"),
        (("devices", 0, "arena"), 2**50, "$.devices[0].arena: got 1125899906842624, expected at m"),
        (("devices", 0, "lower_bound"), 9999, ".lower_bound: got 9999, expected at most 1792"),
        (("accumulate",), 0, "$.accumulate: got 0, expected at least 1"),
        (("programs",), {}, "$.programs: empty, expected at least one program"),
        (("library",), {}, "$.library: empty, expected what the kernels need"),
        ((*TRAIN, "batch"), 0, "$.programs.train.batch: got 0, expected at least 1"),
        # kernels and files
        (("kernels", "add", "flops"), -1, "$.kernels.add.flops: got -1, expected at least 0"),
        (("kernels", "add", "code", "scratch"), 2**50, "code.scratch: got 1125899906842624, expe"),
        (("kernels", "add", "code", "type"), "ptx", "$.kernels.add.code.type: Invalid value 'ptx'"),
        (("kernels", "add", "code", "file"), "/lib/add.so", "lies outside the plan's folder"),
        (
            ("kernels", "add", "code", "file"),
            "lib/../../add.so",
            "$.kernels.add.code.file: 'lib/../../add.so' ",
        ),
        (
            ("kernels", "add", "code", "file"),
            "lib/none.so",
            "plan/lib/none.so' cannot be read: No such fi",
        ),
        (("kernels", "add", "code", "file"), "lib", "lib' cannot be read: Is a directory"),
        (("kernels", "add", "code", "sha256"), "00", "$.kernels.add.code.file: '"),
        (("library", "lib/libtvm_runtime.so"), "00", "$.library.lib/libtvm_runtime.so: '"),
        (("library", "../x.so"), "00", "$.library.../x.so: '../x.so' lies outside"),
        (
            ("kernels", "add", "code", "symbol"),
            "",
            "$.kernels.add.code.symbol: empty, expected the name of",
        ),
        (("kernels", "add", "arguments"), [], "offsets: 3 of them, expected 0 as 'add' takes"),
        (
            ("kernels", "add", "arguments", 0, "access"),
            "rw",
            "$.kernels.add.arguments[0].access: Invalid enum value 'rw'",
        ),
        # steps
        ((*STEP, 0, "index"), 1, "$.programs.train.steps[0].index: got 1, expected 0"),
        ((*STEP, 0, "kernel"), "sub", "$.programs.train.steps[0].kernel: no kernel 'sub'"),
        (
            (*STEP, 0, "device"),
            2,
            "$.programs.train.steps[0].device: no device 2, expected one bel",
        ),
        ((*STEP, 0, "offsets", 0), 100, ".offsets[0]: got 100, expected a multiple of 64"),
        ((*STEP, 0, "offsets", 0), 1600, ".offsets[0]: [1600, 1856), expected inside the arena"),
        ((*STEP, 4, "target"), 0, ".target: got 0, expected another device than the source"),
        ((*STEP, 4, "bytes"), 0, "$.programs.train.steps[4].bytes: got 0, expected at least 1"),
        ((*STEP, 4, "type"), "jump", "$.programs.train.steps[4].type: Invalid value 'jump'"),
        # data flow
        ((*STEP, 2, "offsets", 0), 4 * BYTES, ".offsets[0]: reads [1024, 1280), expected bytes th"),
        ((*STEP, 4, "source_offset"), 5 * BYTES, "steps[4].source_offset: reads [1280, 1536)"),
        ((*STEP, 4, "bytes"), 64, "steps[10].offsets[0]: reads"),
        ((*STEP, 4, "bytes"), 512, "steps[4].source_offset: reads [768, 1280)"),
        (
            (*STEP, 0, "offsets", 2),
            0,
            ".offsets[2]: [0, 256) overwrites a state, expected another pl",
        ),
        ((*STEP, 0, "offsets", 2), 3 * BYTES - 64, "overlaps argument 0, [512, 768); expected by"),
        ((*STEP, 0, "offsets", 2), BYTES, ".offsets[2]: [256, 512) overwrites a state"),
        ((*STEP, 0, "offsets", 2), 6 * BYTES, ".offsets[2]: [1536, 1792) overwrites a constant"),
        ((*STEP, 4, "target_offset"), 0, ".target_offset: [0, 256) overwrites a state"),
        ((*STEP, 8, "offsets", 0), 6 * BYTES, ".offsets[0]: [1536, 1792) overwrites a constant"),
        # tensors
        (("states", 1, "tensor", "offset"), 64, "$.states[1].tensor.offset: [64, 320) overlaps"),
        ((*TRAIN, "feeds", 0, "tensor", "offset"), 0, "feeds[0].tensor.offset: [0, 256) overlaps"),
        ((*TRAIN, "feeds", 0, "tensor", "offset"), 6 * BYTES, "fills[0].tensor.offset: [1536, 17"),
        ((*TRAIN, "feeds", 0, "tensor", "bytes"), 252, "bytes: got 252, expected 256 as its layo"),
        ((*TRAIN, "feeds", 0, "tensor", "name"), "one", "fills[0].tensor.name: 'one' is taken al"),
        ((*TRAIN, "feeds", 0, "tensor", "name"), "", "feeds[0].tensor.name: empty, expected a na"),
        ((*TRAIN, "feeds", 0, "below"), 3, "feeds[0].below: got 3, expected 0 for f32"),
        ((*TRAIN, "feeds", 0, "tensor", "dtype"), "i32", "feeds[1]: expected shape, type and bel"),
        ((*TRAIN, "outputs", 0, "offset"), 4 * BYTES, None),
        ((*TRAIN, "outputs", 0, "device"), 5, "outputs[0].device: no device 5, expected one below"),
        (("programs", "evaluate", "outputs", 0, "offset"), 5 * BYTES, "outputs[0].offset: reads"),
        (("states", 0, "tensor", "layout", "order"), [0, 0, 1], "layout.order: got [0, 0, 1], ex"),
        (("states", 0, "tensor", "layout", "padded"), [64], "padded: 1 extents, expected 2 as in"),
        (("states", 0, "tensor", "layout", "padded"), [48, 1], "padded[0]: got 48, expected at l"),
        (("states", 0, "tensor", "layout", "splits"), [[0, 24]], "factor 24, expected a divisor"),
        (("states", 0, "tensor", "layout", "splits"), [[7, 16]], "of axes [7], expected axes belo"),
        (("states", 0, "tensor", "layout", "splits"), [[0, 0]], "factor 0, expected a divisor of"),
        (("states", 0, "tensor", "layout", "shape"), [0, 1], "shape[0]: got 0, expected at least"),
        (("states", 0, "start"), [64, 0], "$.states[0].start[0]: got 64, expected at most 60"),
        (("states", 0, "start"), [60, 0], "$.states[2].whole: pieces of 'x.weight' do not make"),
        (("states", 0, "start"), [8, 0], "start: pieces of 'x.weight' overlap, expected them si"),
        (("states", 0, "start"), [0], "$.states[0].start: expected 2 axes in start and whole"),
        (("states", 0, "whole"), [240, 1], "$.states[2]: expected the kind, type, whole and sta"),
        (("states", 0, "std"), 0.25, "$.states[2]: expected the kind, type, whole and start val"),
        (("states", 0, "copies"), "y", "$.states[2]: expected the kind, type, whole and start val"),
        (("states", 0, "logical"), "", "$.states[0].logical: empty, expected the name in check"),
        (("states", 0, "logical"), "y", "$.states[0].whole: pieces of 'y' do not make [120, 1]"),
    ],
)
def test_every_broken_law_is_named(
    home: Path, path: Path_, value: Json, complaint: str | None
) -> None:
    require(home, put(raw(), path, value), complaint)


def require(home: Path, plan: Json, complaint: str | None) -> None:
    """The plan is refused with the complaint, or fine where there is none."""
    changed = json.dumps(plan).encode()
    if complaint is None:
        (home / "plan.json").write_bytes(changed)
        read(home / "plan.json")
    else:
        assert complaint in refusal(home, changed)


CODE: Path_ = ("kernels", "add", "code")
SCRATCHED: Path_ = ("kernels", "halve", "code", "binaries", "sm_90a")
BINARIES: Path_ = (*CODE, "binaries")
LAUNCH: Path_ = (*BINARIES, "sm_80", "launches", 0)
ARGUMENTS: Path_ = (*LAUNCH, "arguments")


def mapped(**changes: Json) -> Json:
    """Boxes of the first argument: its first 128 bytes as two lines."""
    fine = {"argument": 0, "extents": [16, 2], "strides": [64], "box": [16, 2], "swizzle": 64}
    return fine | changes


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("binding",), ["cuda:0", "gpu:1"], "$.binding[1]: got 'gpu:1', expected a device such"),
        (("binding",), ["cpu:0", "cpu:1"], "$.library: empty, expected what the kernels need to"),
        (CODE, raw()["kernels"]["add"]["code"], "$.kernels.add.code: cannot run on cuda devices"),
        # binaries
        (BINARIES, {}, "$.kernels.add.code.binaries: empty, expected one for at least one archi"),
        ((*BINARIES, "sm_80", "sha256"), "00", "$.kernels.add.code.binaries.sm_80.file: '"),
        ((*BINARIES, "sm_90a", "file"), "/x", "$.kernels.add.code.binaries.sm_90a.file: '/x' li"),
        # launches
        ((*BINARIES, "sm_80", "launches"), [], "sm_80.launches: empty, expected at least one"),
        ((*LAUNCH, "symbol"), "", "binaries.sm_80.launches[0].symbol: empty, expected the name of"),
        ((*LAUNCH, "grid"), [1, 1], "$.kernels.add.code.binaries[...].launches[0].grid: "),
        ((*LAUNCH, "grid"), [0, 1, 1], "sm_80.launches[0].grid[0]: got 0, expected at least 1"),
        ((*LAUNCH, "grid"), [2**31 - 1, 2**16 - 1, 2**16 - 1], None),
        ((*LAUNCH, "grid"), [2**31, 1, 1], "grid[0]: got 2147483648, expected at most 2147483647"),
        ((*LAUNCH, "grid"), [1, 2**16, 1], "grid[1]: got 65536, expected at most 65535"),
        ((*LAUNCH, "grid"), [1, 1, 2**16], "grid[2]: got 65536, expected at most 65535"),
        ((*LAUNCH, "block"), [0, 1, 1], "block[0]: got 0, expected at least 1"),
        ((*LAUNCH, "block"), [32, 32, 1], None),
        ((*LAUNCH, "block"), [32, 33, 1], "block: 1056 threads, expected at most 1024"),
        ((*LAUNCH, "block"), [1, 1, 65], "block[2]: got 65, expected at most 64"),
        ((*LAUNCH, "shared"), -1, "shared: got -1, expected at least 0"),
        ((*LAUNCH, "shared"), 163 * 1024, None),
        ((*LAUNCH, "shared"), 163 * 1024 + 1, ": 166913 shared bytes, expected at most 166912 on"),
        ((*LAUNCH, "dynamic"), -1, "dynamic: got -1, expected at least 0"),
        ((*LAUNCH, "dynamic"), 163 * 1024, None),
        ((*LAUNCH, "dynamic"), 163 * 1024 + 1, ": 166913 shared bytes, expected at most 166912 o"),
        ((*LAUNCH, "registers"), 256, "registers: got 256, expected at most 255"),
        # their arguments
        ((*LAUNCH, "arguments"), [0, 1, 3], "arguments[2]: got 3, expected at most 2"),
        ((*LAUNCH, "arguments"), [2, -1], "arguments[1]: got -1, expected at least 0"),
        ((*LAUNCH, "arguments"), [2, 2], None),
        ((*LAUNCH, "arguments"), [0, 1], "launches: none gets argument 2, expected one that wri"),
        ((*SCRATCHED, "scratch"), 0, "arguments[2]: got -1, expected at least 0"),
        ((*SCRATCHED, "launches", 0, "arguments"), [-1, 1], None),
        ((*SCRATCHED, "launches", 0, "arguments"), [-2, 1], "[0]: got -2, expected at least -1"),
        # maps of them
        (ARGUMENTS, [mapped(), 1, 2], None),
        (ARGUMENTS, [mapped(argument=3), 1, 2], "[0].argument: got 3, expected at most 2"),
        (ARGUMENTS, [0, 1, mapped(argument=2)], "[2]: of an argument that is written, expected"),
        (ARGUMENTS, [mapped(extents=[], strides=[], box=[]), 1, 2], "axes: got 0, expected at le"),
        (ARGUMENTS, [mapped(extents=[16, 0]), 1, 2], "[0].extents[1]: got 0, expected at least 1"),
        (ARGUMENTS, [mapped(extents=[16, 5]), 1, 2], "[0]: ends at byte 320, expected at most 25"),
        (ARGUMENTS, [mapped(strides=[0]), 1, 2], "[0].strides[0]: got 0, expected at least 16"),
        (ARGUMENTS, [mapped(strides=[40]), 1, 2], "[0]: got 40, expected a multiple of 16 bytes"),
        (ARGUMENTS, [mapped(strides=[]), 1, 2], "[0]: 0 strides and 2 extents of a box, expecte"),
        (ARGUMENTS, [mapped(box=[8, 257]), 1, 2], "[0].box[1]: got 257, expected at most 256"),
        (ARGUMENTS, [mapped(box=[6, 2]), 1, 2], "box[0]: 24 bytes, expected a multiple of 16, at"),
        (ARGUMENTS, [mapped(swizzle=32), 1, 2], "box[0]: 64 bytes, expected a multiple of 16, a"),
        (ARGUMENTS, [mapped(swizzle=48), 1, 2], "[0].swizzle: got 48, expected one of (0, 32, 6"),
    ],
)
def test_every_broken_law_of_gpus_is_named(
    home: Path, path: Path_, value: Json, complaint: str | None
) -> None:
    require(home, put(raw("cuda"), path, value), complaint)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("sm_75", "$.kernels.descend.code.binaries: expected sm_75, sm_90a as other kernels have"),
        ("compute_80", "$.kernels.add.code.binaries: got 'compute_80', expected architectures su"),
    ],
)
def test_kernels_are_for_the_same_architectures(home: Path, name: str, complaint: str) -> None:
    plan = raw("cuda")
    binaries = plan["kernels"]["add"]["code"]["binaries"]
    binaries[name] = binaries.pop("sm_80")
    require(home, plan, complaint)


def test_a_plan_for_gpus_needs_no_library() -> None:
    assert not PLANS["cuda"].library
    check(PLANS["cuda"], compiled())


def renumbered(plan: Json) -> Json:
    for number, step in enumerate(plan["programs"]["train"]["steps"]):
        step["index"] = number
    return plan


@pytest.mark.parametrize("step", [4, 5])
def test_a_transfer_that_is_left_out_is_missed(home: Path, step: int) -> None:
    plan = renumbered(without(raw(), (*STEP, step)))
    assert "reads [1024, 1280), expected bytes that were" in refusal(
        home, json.dumps(plan).encode()
    )


@pytest.mark.parametrize(("first", "second"), [(0, 2), (5, 6), (6, 7)])
def test_steps_in_another_order_are_refused(home: Path, first: int, second: int) -> None:
    plan = raw()
    steps = plan["programs"]["train"]["steps"]
    steps[first], steps[second] = steps[second], steps[first]
    assert "reads" in refusal(home, json.dumps(renumbered(plan)).encode())


def test_copies_of_a_tensor_on_several_devices_are_fine() -> None:
    plan = raw()
    for state in plan["states"]:
        state.update(start=[0, 0], whole=[60, 1])
    check(msgspec.convert(plan, Plan), compiled())


@pytest.mark.parametrize("change", [lambda b: b + b"\0", lambda b: b[:-1], lambda b: b[::-1]])
def test_a_changed_kernel_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    shutil.copytree(compiled(), tmp_path / "plan")
    file = tmp_path / "plan" / "lib" / "halve.so"
    file.write_bytes(change(file.read_bytes()))
    message = refusal(tmp_path, encode(one_device()))
    assert message.startswith("$.kernels.halve.code.file: ")
    assert "has sha256" in message
