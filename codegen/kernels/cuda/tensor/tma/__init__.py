"""By `wgmma`, of boxes that the GPU copies (TMA) as one warp tells it to."""

from codegen.kernels.cuda.tensor.tma.sums import Sums
from codegen.kernels.cuda.tensor.tma.tile import BOX, BoxTile, best_tile

__all__ = ["BOX", "BoxTile", "Sums", "best_tile"]
