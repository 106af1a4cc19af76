r"""Wide residual networks: pre-activation blocks, few and broad, of depth `6n + 4`.

References:
    S. Zagoruyko and N. Komodakis, Wide Residual Networks, arXiv:1605.07146.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from landscape.networks.zoo.residual import conv1x1, conv3x3, initialize_he, stages
from landscape.networks.zoo.shapes import image_shape
from landscape.settings import Count, Fraction


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, with dropout between them.

    Where the shape changes, the shortcut projects the activated input; elsewhere it is the identity.

    Args:
        fan_in: Channels in.
        fan_out: Channels out.
        stride: Stride of the first convolution.
        dropout: Probability of dropping an activation.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(fan_in), conv3x3(fan_in, fan_out, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(fan_out), conv3x3(fan_out, fan_out)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        changes = stride != 1 or fan_in != fan_out
        self.projection = conv1x1(fan_in, fan_out, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, fan_in, H, W)` to `(B, fan_out, H / stride, W / stride)`."""
        active = F.relu(self.bn1(x))
        residual = self.conv2(self.dropout(F.relu(self.bn2(self.conv1(active)))))
        outputs: Tensor = residual + (x if self.projection is None else self.projection(active))
        return outputs


class WideResNet(nn.Module):
    """A convolution, three stages of widths `16k, 32k, 64k`, BatchNorm, ReLU, the mean, a linear layer.

    Args:
        in_channels: Channels of an image.
        num_outputs: Number of outputs.
        num_blocks: Blocks per stage, `n`.
        widen: Widening factor `k`.
        dropout: Probability of dropping an activation inside a block.
    """

    def __init__(
        self, in_channels: int, num_outputs: int, num_blocks: int, widen: int = 10, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = (16 * widen, 32 * widen, 64 * widen)
        self.conv1 = conv3x3(in_channels, 16)
        self.stages = stages(partial(WideBlock, dropout=dropout), 16, widths, num_blocks)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.classifier = nn.Linear(widths[-1], num_outputs)
        initialize_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to outputs `(B, num_outputs)`."""
        features = F.relu(self.norm(self.stages(self.conv1(images))))
        outputs: Tensor = self.classifier(features.mean(dim=(-2, -1)))
        return outputs


def wrn28(input_shape: tuple[int, ...], num_outputs: int, *, widen: Count = 10, dropout: Fraction = 0.0) -> WideResNet:
    """Build a `WideResNet` of 28 layers."""
    channels, _, _ = image_shape("wrn28-10", input_shape)
    return WideResNet(channels, num_outputs, (28 - 4) // 6, widen, dropout)
