"""Two devices against one: `python -m experiments.devices`.

Paper, section 3.2: the network on two GPUs has top-1 and top-5 errors 1.7 and 1.2 points lower than
one with half as many kernels in its convolutions, which one GPU holds, and takes slightly less time
to train. The notes that came with the 2012 program have 37.5 and 17.0 % against 39.2 and 18.2 %,
with ten views of ILSVRC-2010's test images. The smaller network keeps the 256 kernels of conv5 and
all units of the dense layers (footnote 2), so it has 59,798,312 parameters, and the other one
60,965,224.

Real data: two networks, each five to six days on the paper's two GPUs; ten views, as in the notes:

    python -m experiments.devices --data STORE --preset code145 --views 10 \\
        -- --recipe code145

Here: minutes on two cores, too small to show what the paper saw:

    python -m experiments.devices --preset code145 --width 0.25 --image 112 --classes 10 \\
        --batch 32 --epochs 8 --seeds 2 -- --lr 0.01
"""

from experiments.ablation import Ablation, Side, compare
from ir.command import run

ABLATION = Ablation(
    feature="devices",
    one=Side("two"),
    other=Side("one", {"one_gpu": True}, devices=1),
    top1=1.7,
    top5=1.2,
)


def main() -> None:
    """Compare the network of two devices with the paper's smaller one of a single device."""
    compare(ABLATION, main.__doc__)


if __name__ == "__main__":
    run(main)
