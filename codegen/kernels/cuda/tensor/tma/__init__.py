"""By `wgmma`, of boxes that the GPU copies (TMA) as one warp tells it to."""

from codegen.kernels.cuda.tensor.tma.sums import Sums
from codegen.kernels.cuda.tensor.tma.tile import BOX, best_tile, has_room

__all__ = ["BOX", "Sums", "best_tile", "has_room"]
