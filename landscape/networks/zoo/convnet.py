"""A small convolutional network with BatchNorm, for experiments that take seconds on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from landscape.networks.zoo.shapes import image_shape
from landscape.settings import Count


class ConvNet(nn.Module):
    """Three 3x3 convolutions of widths `w, 2w, 4w`, each with BatchNorm and ReLU, the mean, a linear layer.

    The first two halve the image by their stride: without pooling a step costs a third of the time.

    Args:
        in_channels: Channels of an image.
        num_outputs: Number of outputs.
        width: Channels after the first convolution, `w`.
        batchnorm: Whether there is BatchNorm; without it the convolutions have biases.
    """

    def __init__(self, in_channels: int, num_outputs: int, width: int = 16, batchnorm: bool = True) -> None:
        super().__init__()

        def block(fan_in: int, fan_out: int, stride: int) -> nn.Sequential:
            convolution = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=not batchnorm)
            return nn.Sequential(convolution, nn.BatchNorm2d(fan_out) if batchnorm else nn.Identity(), nn.ReLU())

        self.features = nn.Sequential(
            block(in_channels, width, stride=2),
            block(width, 2 * width, stride=2),
            block(2 * width, 4 * width, stride=1),
        )
        self.classifier = nn.Linear(4 * width, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to outputs `(B, num_outputs)`."""
        outputs: Tensor = self.classifier(self.features(images).mean(dim=(-2, -1)))
        return outputs


def convnet(input_shape: tuple[int, ...], num_outputs: int, *, width: Count = 16, batchnorm: bool = True) -> ConvNet:
    """Build a `ConvNet` for images of any size."""
    channels, _, _ = image_shape("convnet", input_shape)
    return ConvNet(channels, num_outputs, width, batchnorm)
