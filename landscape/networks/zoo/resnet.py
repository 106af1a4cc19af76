r"""Residual networks for CIFAR, :math:`x \mapsto \mathrm{relu}(x + F(x))`, of depth `6n + 2`.

References:
    K. He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385, section 4.2.
    H. Li et al., Visualizing the Loss Landscape of Neural Nets, arXiv:1712.09913: without shortcuts.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from landscape.networks.zoo.residual import PaddedIdentity, conv1x1, conv3x3, initialize_he, stages
from landscape.networks.zoo.shapes import image_shape
from landscape.settings import Count

Shortcut = Literal["A", "B"]


class BasicBlock(nn.Module):
    r"""Two 3x3 convolutions with BatchNorm, :math:`\mathrm{relu}(x + F(x))`; :math:`\mathrm{relu}(F(x))` without skip.

    Args:
        fan_in: Channels in.
        fan_out: Channels out.
        stride: Stride of the first convolution.
        skip: Whether there is a shortcut.
        shortcut: Where the shape changes, `A` pads the identity with zeros, `B` projects and normalises it.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int, skip: bool = True, shortcut: Shortcut = "A") -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(fan_in, fan_out, stride), nn.BatchNorm2d(fan_out)
        self.conv2, self.bn2 = conv3x3(fan_out, fan_out), nn.BatchNorm2d(fan_out)
        self.skip = skip
        self.shortcut: nn.Module = nn.Identity()
        if skip and (stride != 1 or fan_in != fan_out):
            self.shortcut = (
                PaddedIdentity(fan_out - fan_in, stride)
                if shortcut == "A"
                else nn.Sequential(conv1x1(fan_in, fan_out, stride), nn.BatchNorm2d(fan_out))
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, fan_in, H, W)` to `(B, fan_out, H / stride, W / stride)`."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + residual if self.skip else residual)


class ResNet(nn.Module):
    """A convolution, three stages of widths `w, 2w, 4w`, the mean over the image, a linear layer.

    Args:
        in_channels: Channels of an image.
        num_outputs: Number of outputs.
        num_blocks: Blocks per stage, `n`.
        width: Channels of the first stage, `w`.
        skip: Whether the blocks have shortcuts.
        shortcut: Kind of shortcut where the shape changes.
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        num_blocks: int,
        width: int = 16,
        skip: bool = True,
        shortcut: Shortcut = "A",
    ) -> None:
        super().__init__()
        block = partial(BasicBlock, skip=skip, shortcut=shortcut)
        self.conv1, self.bn1 = conv3x3(in_channels, width), nn.BatchNorm2d(width)
        self.stages = stages(block, width, (width, 2 * width, 4 * width), num_blocks)
        self.classifier = nn.Linear(4 * width, num_outputs)
        initialize_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to outputs `(B, num_outputs)`."""
        features = self.stages(F.relu(self.bn1(self.conv1(images))))
        outputs: Tensor = self.classifier(features.mean(dim=(-2, -1)))
        return outputs


def resnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    depth: int = 20,
    width: Count = 16,
    skip: bool = True,
    shortcut: Shortcut = "A",
) -> ResNet:
    """Build a `ResNet` of a depth `6n + 2`; `skip=False` gives Li et al.'s variant."""
    channels, _, _ = image_shape(f"resnet{depth}", input_shape)
    return ResNet(channels, num_outputs, (depth - 2) // 6, width, skip, shortcut)
