"""Arrays written as .npy files, for other programs to read."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from runtime import files


def write_npy(path: Path, array: npt.NDArray[np.generic]) -> None:
    """Write an array whole or not at all, in a folder made if need be. Raises Error."""
    contiguous, header = np.ascontiguousarray(array), BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(contiguous))
    files.write(path, [header.getvalue(), contiguous.reshape(-1).view(np.uint8).data])
