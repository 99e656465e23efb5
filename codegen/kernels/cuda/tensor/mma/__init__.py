"""By `mma.sync`: each warp multiplies fragments that it has loaded into registers."""

from codegen.kernels.cuda.tensor.mma.sums import Sums
from codegen.kernels.cuda.tensor.mma.tile import best_tile

__all__ = ["Sums", "best_tile"]
