"""Tensor maps: what a GPU is told of an array that it copies boxes of."""

import ctypes

import numpy as np
from numpy.typing import NDArray

from ir.plan import DTYPES, TensorMap
from runtime.cuda.calls import Calls

Words = NDArray[np.uint64]
"""An argument of a launch that is more than a pointer."""

WORDS = 16
ALIGNMENT = 128
"""Bytes, of where a map lies: `CUtensorMap` in cuda.h."""

TYPES: dict[DTYPES, str] = {
    "f32": "FLOAT32",
    "bf16": "BFLOAT16",
    "u8": "UINT8",
    "i32": "INT32",
    "u32": "UINT32",
}
"""What CUDA calls the types of elements."""

ENCODE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    # The map, the type of elements, how many axes, and where the array is.
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p),
    # Extents and strides of the array; extents and strides of a box.
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
    # Interleave, swizzle, promotion to the second cache, and what lies beyond the array.
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int),
)
"""cuTensorMapEncodeTiled.

`cuda.bindings` has it write into a Python object, which is aligned to 16 bytes; the driver expects
more, and the compiler of the package too (NVIDIA/cuda-python, pull request 1692).
"""


def encoded(call: Calls, map: TensorMap, dtype: DTYPES, address: int) -> Words:
    """A map of the array at an address. Raises Error where CUDA refuses it."""
    names, made = call.names, _aligned()
    units = f"{map.swizzle}B" if map.swizzle else "NONE"
    lists = (
        np.array(map.extents, np.uint64),
        np.array(map.strides, np.uint64),
        np.array(map.box, np.uint32),
        np.ones(len(map.box), np.uint32),
    )
    call.direct(
        "cuTensorMapEncodeTiled",
        ENCODE,
        made.ctypes.data,
        int(getattr(names.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{TYPES[dtype]}")),
        len(map.extents),
        address,
        *(each.ctypes.data for each in lists),
        int(names.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE),
        int(getattr(names.CUtensorMapSwizzle, f"CU_TENSOR_MAP_SWIZZLE_{units}")),
        int(names.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B),
        # What a box has beyond the array is zero.
        int(names.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
    )
    return made


def _aligned() -> Words:
    memory = np.zeros(WORDS + ALIGNMENT // 8, np.uint64)
    begin = -memory.ctypes.data % ALIGNMENT // 8
    return memory[begin : begin + WORDS]
