"""Arrays written as .npy files, for other programs to read."""

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from ir.command import Error
from ir.plan import write_whole


def write_npy(path: Path, array: npt.NDArray[np.generic]) -> None:
    """Write an array whole or not at all, in a folder made if need be. Raises Error."""
    contiguous, header = np.ascontiguousarray(array), BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(contiguous))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [header.getvalue(), contiguous.reshape(-1).view(np.uint8).data])
    except OSError as error:
        raise Error(f"{path}: cannot be written: {error.strerror}") from error
