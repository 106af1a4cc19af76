r"""ResNet18 of any width: the family whose double descent Nakkiran et al. measured.

Four stages of two pre-activated basic blocks, of widths `k, 2k, 4k, 8k`; k = 64 is the usual ResNet18. As in the code
that their figures come from, a projection takes the activated input, and nothing normalises the last stage.

References:
    P. Nakkiran et al., Deep Double Descent, arXiv:1912.02292, appendix B.
    K. He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from landscape.networks.zoo.residual import conv1x1, conv3x3, stages
from landscape.networks.zoo.shapes import image_shape
from landscape.settings import Count


class ActivatedShortcut(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU; where the shape changes, a projection of the activations.

    Args:
        fan_in: Channels in.
        fan_out: Channels out.
        stride: Stride of the first convolution.
    """

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(fan_in), conv3x3(fan_in, fan_out, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(fan_out), conv3x3(fan_out, fan_out)
        self.projection = conv1x1(fan_in, fan_out, stride) if stride != 1 or fan_in != fan_out else None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, fan_in, H, W)` to `(B, fan_out, H / stride, W / stride)`."""
        activated = F.relu(self.bn1(x))
        shortcut = x if self.projection is None else self.projection(activated)
        outputs: Tensor = shortcut + self.conv2(F.relu(self.bn2(self.conv1(activated))))
        return outputs


class ResNet18k(nn.Module):
    """A convolution, four stages of two blocks, the mean over the image, a linear layer.

    Args:
        in_channels: Channels of an image.
        num_outputs: Number of outputs.
        width: Channels of the first stage, `k`.
    """

    def __init__(self, in_channels: int, num_outputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, width)
        self.stages = stages(ActivatedShortcut, width, [width * factor for factor in (1, 2, 4, 8)], num_blocks=2)
        self.classifier = nn.Linear(8 * width, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to outputs `(B, num_outputs)`."""
        outputs: Tensor = self.classifier(self.stages(self.conv1(images)).mean(dim=(-2, -1)))
        return outputs


def resnet18k(input_shape: tuple[int, ...], num_outputs: int, *, width: Count = 64) -> ResNet18k:
    """Build a `ResNet18k`, with torch's own initialisation, as Nakkiran et al. did."""
    channels, _, _ = image_shape("resnet18k", input_shape)
    return ResNet18k(channels, num_outputs, width)
