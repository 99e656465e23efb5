"""CUDA's driver as the runtime calls it, on one that only notes the calls; and what people read."""

import ctypes
from collections.abc import Callable, Iterator
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ir import optional
from ir.command import Error, Exit
from ir.plan import TensorMap
from ir.plan.cubins import SWIZZLES
from runtime.cuda import calls, driver
from runtime.cuda.cubins import choose
from runtime.cuda.driver import Driver, Gpu, gpus
from runtime.cuda.maps import ENCODE, TYPES
from runtime.fit import DoesNotFit


class Status(IntEnum):
    SUCCESS = 0
    INVALID_VALUE = 1
    OUT_OF_MEMORY = 2
    NO_DEVICE = 100
    ILLEGAL_ADDRESS = 700
    ALREADY_ENABLED = 704


WORDS = {
    Status.OUT_OF_MEMORY: (b"CUDA_ERROR_OUT_OF_MEMORY", b"out of memory"),
    Status.INVALID_VALUE: (b"CUDA_ERROR_INVALID_VALUE", b"invalid argument"),
    Status.NO_DEVICE: (b"CUDA_ERROR_NO_DEVICE", b"no CUDA-capable device is detected"),
    Status.ILLEGAL_ADDRESS: (b"CUDA_ERROR_ILLEGAL_ADDRESS", b"an illegal memory access"),
}
MAP = TensorMap(argument=0, extents=(32, 7), strides=(64,), box=(32, 5), swizzle=64)
CAPABILITY = {"major": 9, "minor": 0, "processors": 132}
ATTRIBUTES = SimpleNamespace(
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major",
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor",
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT="processors",
)


class Cuda:
    """Stands for `cuda.bindings.driver`; what fails is given by name."""

    CUdevice_attribute = ATTRIBUTES
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUresult = Status
    CUtensorMapDataType = SimpleNamespace(
        CU_TENSOR_MAP_DATA_TYPE_FLOAT32=7, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16=9
    )
    CUtensorMapInterleave = SimpleNamespace(CU_TENSOR_MAP_INTERLEAVE_NONE=0)
    CUtensorMapSwizzle = SimpleNamespace(CU_TENSOR_MAP_SWIZZLE_NONE=0, CU_TENSOR_MAP_SWIZZLE_64B=2)
    CUtensorMapL2promotion = SimpleNamespace(CU_TENSOR_MAP_L2_PROMOTION_L2_128B=2)
    CUtensorMapFloatOOBfill = SimpleNamespace(CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE=0)

    def __init__(self, *, version: int = 13000, count: int = 2, **failing: Status) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.failing = failing
        self._host = np.zeros(4096, np.uint8)
        self.maps: list[tuple[Any, ...]] = []
        self._encode = ENCODE(self._encoded)
        self._values: dict[str, Callable[..., Any]] = {
            "cuDriverGetVersion": lambda: version,
            "cuDeviceGetCount": lambda: count,
            "cuDeviceGet": lambda number: number,
            "cuDeviceGetName": lambda length, device: b"NVIDIA H200".ljust(length, b"\0"),
            "cuDeviceGetAttribute": lambda which, device: CAPABILITY[which],
            "cuDeviceCanAccessPeer": lambda one, other: 1,
            "cuDevicePrimaryCtxRetain": lambda device: f"context {device}",
            "cuMemAlloc": lambda size: 4096,
            "cuMemHostAlloc": lambda size, flags: self._host.ctypes.data,
            "cuModuleLoadData": lambda image: "module",
            "cuModuleGetFunction": lambda module, name: name,
            "cuStreamCreate": lambda flags: "stream",
            "cuEventCreate": lambda flags: "event",
            "cuEventElapsedTime": lambda start, end: 2.5,
            "cuStreamEndCapture": lambda stream: "graph",
            "cuGraphInstantiate": lambda graph, flags: "executable",
        }

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            if name == "cuGetErrorName":
                return Status.SUCCESS, WORDS[arguments[0]][0]
            if name == "cuGetErrorString":
                return Status.SUCCESS, WORDS[arguments[0]][1]
            self.calls.append((name, arguments))
            if name in self.failing:
                return (self.failing[name],)
            if name == "cuGetProcAddress":
                assert arguments[0] == b"cuTensorMapEncodeTiled"
                address = ctypes.cast(self._encode, ctypes.c_void_p).value
                return Status.SUCCESS, address, "found"
            if name == "cuMemGetInfo":
                return Status.SUCCESS, 1000, 2000
            made = self._values.get(name)
            return (Status.SUCCESS, made(*arguments)) if made else (Status.SUCCESS,)

        return call

    def _encoded(self, to: int, type: int, rank: int, at: int, *more: int) -> Status:
        """As C calls it: the arrays are of 64 bits for the array, of 32 for a box."""
        if to % 64:
            return Status.INVALID_VALUE
        (extents, strides, box, apart), kinds = more[:4], more[4:]
        arrays = (_words(extents, rank), _words(strides, rank - 1))
        boxes = (_words(each, rank, np.uint32) for each in (box, apart))
        self.maps.append((type, at, *map(list, (*arrays, *boxes)), *kinds))
        _words(to, 16)[:] = range(16)
        return self.failing.get("cuTensorMapEncodeTiled", Status.SUCCESS)


def made_with(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.setattr(calls, "optional", lambda name, extra: cuda)
    return Driver()


def use_everything(driver: Driver) -> None:
    for gpu in (0, 1):
        driver.open(gpu)
        driver.gpu(gpu)
        driver.free(gpu)
    assert driver.share(0, 1)
    stream, address, host = driver.stream(0), driver.allocate(0, 64), driver.pin(0, 64)
    driver.upload(address, host, stream)
    driver.copy(address, address, 64, stream)
    driver.download(host, address, stream)
    function = driver.load(0, b"\x7fELF", ["kernel"])["kernel"]
    driver.permit(function, 1 << 16)
    given: list[Any] = [address, driver.tensor_map(0, MAP, "bf16", address)]
    driver.launch(function, (3, 2, 1), (32, 4, 1), given, stream, shared=1 << 16)
    event, timed = driver.event(0), driver.event(0, timed=True)
    driver.record(event, stream)
    driver.wait(stream, event)
    driver.finish(event)
    assert driver.seconds(timed, timed) == 0.0025
    driver.begin_capture(stream)
    driver.replay(driver.end_capture(stream), stream)
    driver.synchronise(0)
    driver.close()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    cuda = Cuda()
    use_everything(made_with(cuda, monkeypatch))
    return cuda.calls  # type: ignore[return-value]


# ---------------------------------------------------------------------------------- calls


def test_every_call_is_one_that_cuda_has(noted: list[tuple[str, tuple[Any, ...]]]) -> None:
    real = pytest.importorskip("cuda.bindings.driver", reason="the extra 'cuda' is not installed")
    for name, arguments in noted:
        signature = getattr(real, name).__doc__.partition("\n")[0]
        parameters = signature[signature.index("(") + 1 : -1]
        assert len(arguments) == len(parameters.split(",") if parameters else ()), signature
    for attribute in vars(ATTRIBUTES):
        assert hasattr(real.CUdevice_attribute, attribute)
    assert real.CUresult.CUDA_ERROR_OUT_OF_MEMORY == calls.OUT_OF_MEMORY
    already = real.CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED
    assert already == driver.ALREADY_ENABLED
    assert real.CUstream_flags.CU_STREAM_NON_BLOCKING == driver.NON_BLOCKING
    assert real.CUevent_flags.CU_EVENT_DISABLE_TIMING == driver.NO_TIMING
    assert real.CU_MEMHOSTALLOC_PORTABLE == driver.PORTABLE
    mode = real.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    assert mode == Cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    for attribute, number in vars(Cuda.CUfunction_attribute).items():
        assert getattr(real.CUfunction_attribute, attribute) == number


def test_what_is_made_is_given_back(noted: list[tuple[str, tuple[Any, ...]]]) -> None:
    names = [name for name, _ in noted]
    pairs = {
        "cuDevicePrimaryCtxRetain": "cuDevicePrimaryCtxRelease",
        "cuMemAlloc": "cuMemFree",
        "cuMemHostAlloc": "cuMemFreeHost",
        "cuModuleLoadData": "cuModuleUnload",
        "cuStreamCreate": "cuStreamDestroy",
        "cuEventCreate": "cuEventDestroy",
        "cuGraphInstantiate": "cuGraphExecDestroy",
    }
    for make, end in pairs.items():
        assert names.count(make) == names.count(end) > 0, make
    assert names.index("cuMemFree") < names.index("cuDevicePrimaryCtxRelease")


def test_a_launch_passes_the_addresses_of_its_pointers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []

    def launch(*arguments: Any) -> tuple[Status]:
        places = np.ctypeslib.as_array(_words(arguments[9], 3))
        seen.append((*arguments[:8], [_words(int(place), 1)[0] for place in places]))
        return (Status.SUCCESS,)

    cuda = Cuda()
    monkeypatch.setattr(cuda, "cuLaunchKernel", launch, raising=False)
    driver = made_with(cuda, monkeypatch)
    driver.open(0)
    function = driver.load(0, b"", ["kernel"])["kernel"]
    for shared in (0, 4096):
        driver.launch(function, (3, 2, 1), (32, 4, 1), [7, 8, 9], driver.stream(0), shared=shared)
    assert seen == [
        (b"kernel", 3, 2, 1, 32, 4, 1, 0, [7, 8, 9]),
        (b"kernel", 3, 2, 1, 32, 4, 1, 4096, [7, 8, 9]),
    ]


def test_a_map_s_words_are_passed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def launch(*arguments: Any) -> tuple[Status]:
        first, second = _words(arguments[9], 2)
        seen.append([_words(first, 1)[0], *_words(second, 16)])
        return (Status.SUCCESS,)

    cuda = Cuda()
    monkeypatch.setattr(cuda, "cuLaunchKernel", launch, raising=False)
    driver = made_with(cuda, monkeypatch)
    driver.open(0)
    map = driver.tensor_map(0, MAP, "bf16", 4096)
    assert cuda.maps == [(9, 4096, [32, 7], [64], [32, 5], [1, 1], 0, 2, 2, 0)]
    function = driver.load(0, b"", ["kernel"])["kernel"]
    driver.launch(function, (1, 1, 1), (32, 1, 1), [9, map], driver.stream(0))
    assert seen == [[9, *range(16)]]


def test_maps_lie_where_cuda_expects_them(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = made_with(Cuda(), monkeypatch)
    driver.open(0)
    maps = [driver.tensor_map(0, MAP, "f32", 4096) for _ in range(20)]
    assert all(map.ctypes.data % 128 == 0 for map in maps)


def test_a_map_that_cuda_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = made_with(Cuda(cuTensorMapEncodeTiled=Status.INVALID_VALUE), monkeypatch)
    driver.open(0)
    with pytest.raises(Error, match="cuTensorMapEncodeTiled: CUDA_ERROR_INVALID_VALUE: invalid"):
        driver.tensor_map(0, MAP, "f32", 4096)


def test_maps_are_named_as_cuda_names_them() -> None:
    real = pytest.importorskip("cuda.bindings.driver", reason="the extra 'cuda' is not installed")
    for dtype, name in TYPES.items():
        assert hasattr(real.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{name}"), dtype
    for swizzle in SWIZZLES:
        units = f"{swizzle}B" if swizzle else "NONE"
        assert hasattr(real.CUtensorMapSwizzle, f"CU_TENSOR_MAP_SWIZZLE_{units}")
    for kind in (each for each in vars(Cuda) if each.startswith("CUtensorMap")):
        for name, number in vars(getattr(Cuda, kind)).items():
            assert getattr(getattr(real, kind), name) == number


def _words(address: int, count: int, type: Any = np.uint64) -> Any:
    return (np.ctypeslib.as_ctypes_type(type) * count).from_address(address)


# ---------------------------------------------------------------------------------- GPUs


@pytest.mark.parametrize(("minor", "arch"), [(0, "sm_90a"), (6, "sm_96")])
def test_gpus_are_told_by_name_and_architecture(
    monkeypatch: pytest.MonkeyPatch, minor: int, arch: str
) -> None:
    monkeypatch.setitem(CAPABILITY, "minor", minor)
    monkeypatch.setattr(calls, "optional", lambda name, extra: Cuda())
    assert gpus() == [Gpu("NVIDIA H200", arch, 132)] * 2


@pytest.mark.parametrize(
    ("arch", "held", "chosen"),
    [
        ("sm_90a", ("sm_80", "sm_90a"), "sm_90a"),
        ("sm_90a", ("sm_90", "sm_90a"), "sm_90a"),
        ("sm_90a", ("sm_90",), "sm_90"),
        ("sm_86", ("sm_80", "sm_89", "sm_90a"), "sm_80"),
        ("sm_89", ("sm_80", "sm_86", "sm_90a"), "sm_86"),
        ("sm_80", ("sm_86", "sm_90a"), None),
        ("sm_100", ("sm_90a", "sm_100a", "sm_100f"), "sm_100a"),
        ("sm_103", ("sm_100", "sm_100a", "sm_100f"), "sm_100f"),
        ("sm_120", ("sm_90a", "sm_100"), None),
    ],
)
def test_the_binary_for_a_gpu_is_the_closest_that_runs(
    arch: str, held: tuple[str, ...], chosen: str | None
) -> None:
    assert choose(arch, held) == chosen == choose(arch, held[::-1])


# ---------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("cuda", "words"),
    [
        (Cuda(version=12080), "too old: it supports CUDA 12.8, expected 13.0 or newer"),
        (Cuda(cuInit=Status.NO_DEVICE), "cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device"),
    ],
)
def test_a_driver_that_will_not_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, cuda: Cuda, words: str
) -> None:
    with pytest.raises(Error, match=words) as caught:
        made_with(cuda, monkeypatch)
    assert "\n" not in str(caught.value)
    assert gpus() == []


def test_no_driver_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    cuda = Cuda()
    monkeypatch.setattr(cuda, "cuDriverGetVersion", missing, raising=False)
    with pytest.raises(Error, match=r"no NVIDIA driver: libcuda\.so\.1 cannot be loaded"):
        made_with(cuda, monkeypatch)
    assert gpus() == []


def test_gpus_may_reach_each_other_already(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(cuCtxEnablePeerAccess=Status.ALREADY_ENABLED)
    made = made_with(cuda, monkeypatch)
    for gpu in (0, 1):
        made.open(gpu)
    assert made.share(0, 1)


def test_a_missing_package_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(optional, "import_module", missing)
    with pytest.raises(Error, match=r"cuda.bindings.driver is missing.*tandem\[cuda\]"):
        Driver()
    assert gpus() == []


def test_a_gpu_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Error, match=r"cuda:2 does not exist; expected .*: cuda:0, cuda:1"):
        made_with(Cuda(), monkeypatch).open(2)


def test_a_call_that_fails_is_named_with_cuda_s_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(cuEventSynchronize=Status.ILLEGAL_ADDRESS, cuMemAlloc=Status.OUT_OF_MEMORY)
    driver = made_with(cuda, monkeypatch)
    driver.open(0)
    with pytest.raises(Error, match="cuEventSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal"):
        driver.finish(driver.event(0))
    with pytest.raises(DoesNotFit, match="cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY") as caught:
        driver.allocate(0, 64)
    assert caught.value.exit == Exit.NO_FIT
