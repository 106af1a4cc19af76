r"""Residual networks with pre-activation, :math:`x \mapsto x + F(x)`, where `F` begins with BatchNorm and ReLU.

References:
    K. He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027.
    T. Garipov et al., Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs, arXiv:1802.10026.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from landscape.networks.zoo.residual import conv1x1, conv3x3, initialize_he, stages
from landscape.networks.zoo.shapes import image_shape
from landscape.settings import Count


class PreActivation(nn.Module):
    """A residual block whose convolutions each follow BatchNorm and ReLU.

    Args:
        convolutions: The convolutions of the residual branch.
        shortcut: What goes around them: the identity, or a projection where the shape changes.
    """

    def __init__(self, convolutions: list[nn.Conv2d], shortcut: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(conv.in_channels) for conv in convolutions)
        self.convs = nn.ModuleList(convolutions)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, fan_in, H, W)` to `(B, fan_out, H / stride, W / stride)`."""
        residual = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            residual = conv(F.relu(norm(residual)))
        outputs: Tensor = self.shortcut(x) + residual
        return outputs


def basic(fan_in: int, fan_out: int, stride: int) -> PreActivation:
    """A block of two 3x3 convolutions."""
    convolutions = [conv3x3(fan_in, fan_out, stride), conv3x3(fan_out, fan_out)]
    return PreActivation(convolutions, _shortcut(fan_in, fan_out, stride))


def bottleneck(fan_in: int, fan_out: int, stride: int) -> PreActivation:
    """A block of a 1x1, a 3x3 and a 1x1 convolution, the inner ones a quarter as wide."""
    inner = fan_out // 4
    convolutions = [conv1x1(fan_in, inner), conv3x3(inner, inner, stride), conv1x1(inner, fan_out)]
    return PreActivation(convolutions, _shortcut(fan_in, fan_out, stride))


def _shortcut(fan_in: int, fan_out: int, stride: int) -> nn.Module:
    """The identity, or a projection where the shape changes."""
    changes = stride != 1 or fan_in != fan_out
    return conv1x1(fan_in, fan_out, stride) if changes else nn.Identity()


class PreResNet(nn.Module):
    """A convolution, three stages of blocks, BatchNorm, ReLU, the mean over the image, a linear layer.

    Args:
        in_channels: Channels of an image.
        num_outputs: Number of outputs.
        depth: `6n + 2` for basic blocks, `9n + 2` for bottlenecks, with `n` blocks per stage.
        block: Kind of block.
        width: Inner channels of the first stage; the later ones have twice and four times as many.
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        depth: int,
        block: Literal["basic", "bottleneck"],
        width: int = 16,
    ) -> None:
        super().__init__()
        make, expansion, layers = (basic, 1, 6) if block == "basic" else (bottleneck, 4, 9)
        widths = [expansion * width * factor for factor in (1, 2, 4)]
        self.conv1 = conv3x3(in_channels, width)
        self.stages = stages(make, width, widths, (depth - 2) // layers)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.classifier = nn.Linear(widths[-1], num_outputs)
        initialize_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to outputs `(B, num_outputs)`."""
        features = F.relu(self.norm(self.stages(self.conv1(images))))
        outputs: Tensor = self.classifier(features.mean(dim=(-2, -1)))
        return outputs


def preresnet110(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    width: Count = 16,
    block: Literal["basic", "bottleneck"] = "basic",
) -> PreResNet:
    """Build a `PreResNet` of 110 layers: He et al.'s basic blocks, or the bottlenecks of Garipov et al.'s code."""
    channels, _, _ = image_shape("preresnet110", input_shape)
    return PreResNet(channels, num_outputs, 110, block, width)


def preresnet164(input_shape: tuple[int, ...], num_outputs: int, *, width: Count = 16) -> PreResNet:
    """Build a `PreResNet` of 164 layers with bottlenecks, the network of Garipov et al.'s figure."""
    channels, _, _ = image_shape("preresnet164", input_shape)
    return PreResNet(channels, num_outputs, 164, "bottleneck", width)
