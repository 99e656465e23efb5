"""Tensor maps: what a GPU is told of an array that it copies boxes of."""

import numpy as np
from numpy.typing import NDArray

from ir.plan import DTYPES, TensorMap
from runtime.cuda.calls import Calls

Words = NDArray[np.uint64]
"""An argument of a launch that is more than a pointer."""

TYPES: dict[DTYPES, str] = {
    "f32": "FLOAT32",
    "bf16": "BFLOAT16",
    "u8": "UINT8",
    "i32": "INT32",
    "u32": "UINT32",
}
"""What CUDA calls the types of elements."""


def encoded(call: Calls, map: TensorMap, dtype: DTYPES, address: int) -> Words:
    """A map of the array at an address. Raises Error where CUDA refuses it."""
    names = call.names
    type = getattr(names.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{TYPES[dtype]}")
    units = f"{map.swizzle}B" if map.swizzle else "NONE"
    made = call(
        "cuTensorMapEncodeTiled",
        type,
        len(map.extents),
        address,
        [names.cuuint64_t(extent) for extent in map.extents],
        [names.cuuint64_t(stride) for stride in map.strides],
        [names.cuuint32_t(extent) for extent in map.box],
        [names.cuuint32_t(1)] * len(map.box),
        names.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        getattr(names.CUtensorMapSwizzle, f"CU_TENSOR_MAP_SWIZZLE_{units}"),
        names.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
        # What a box has beyond the array is zero.
        names.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )
    return np.array([int(word) for word in made.opaque], np.uint64)
