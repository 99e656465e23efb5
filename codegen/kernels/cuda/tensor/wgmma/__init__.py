"""By `wgmma`: four warps at a time multiply chunks where they lie, in shared memory."""

from codegen.kernels.cuda.tensor.wgmma.sums import Sums
from codegen.kernels.cuda.tensor.wgmma.tile import best_tile

__all__ = ["Sums", "best_tile"]
