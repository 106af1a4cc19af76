"""What the residual families share: stages of blocks, the parameter-free shortcut, He's initialisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

Block = Callable[[int, int, int], nn.Module]


def conv3x3(fan_in: int, fan_out: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the image's size, or halves it by stride 2."""
    return nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False)


def conv1x1(fan_in: int, fan_out: int, stride: int = 1) -> nn.Conv2d:
    """A 1x1 convolution: a linear map of each pixel's channels."""
    return nn.Conv2d(fan_in, fan_out, 1, stride=stride, bias=False)


def stages(block: Block, fan_in: int, widths: Sequence[int], num_blocks: int) -> nn.Sequential:
    """Stages of equal blocks; each stage after the first halves the image.

    Args:
        block: Makes a block from channels in, channels out and stride.
        fan_in: Channels into the first stage.
        widths: Channels out of each stage.
        num_blocks: Blocks per stage.

    Returns:
        The stages, one `nn.Sequential` of blocks each.
    """
    made = []
    for index, width in enumerate(widths):
        first = block(fan_in, width, 1 if index == 0 else 2)
        made.append(nn.Sequential(first, *(block(width, width, 1) for _ in range(num_blocks - 1))))
        fan_in = width
    return nn.Sequential(*made)


class PaddedIdentity(nn.Module):
    """He et al.'s shortcut of option A: every `stride`-th pixel, and zeros for the channels that are new.

    Args:
        extra: Number of new channels.
        stride: Stride of the block that it goes around.
    """

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, images: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to `(B, C + extra, ⌈H / stride⌉, ⌈W / stride⌉)`."""
        return F.pad(images[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def initialize_he(model: nn.Module) -> None:
    r"""Draw the convolutions' weights from :math:`N(0, 2 / (k^2 C_\mathrm{out}))`, and set their biases to zero.

    References:
        K. He et al., Delving Deep into Rectifiers, arXiv:1502.01852, eq. 14.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
