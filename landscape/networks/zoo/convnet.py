"""A small convolutional network with BatchNorm, for experiments that take seconds on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from landscape.networks.zoo.shapes import image_shape
from landscape.settings import Count


class ConvNet(nn.Module):
    """Three 3x3 convolutions of widths `w, 2w, 4w`, each with BatchNorm and ReLU, and a linear layer.

    Each halves the image by its stride: with pooling instead, a step costs more than three times as much.

    Args:
        input_shape: Channels, height and width of an image.
        num_outputs: Number of outputs.
        width: Channels after the first convolution, `w`.
        batchnorm: Whether there is BatchNorm; without it the convolutions have biases.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_outputs: int, width: int = 16, batchnorm: bool = True
    ) -> None:
        super().__init__()
        channels, height, breadth = input_shape
        self.features = nn.Sequential(
            self._block(channels, width, batchnorm),
            self._block(width, 2 * width, batchnorm),
            self._block(2 * width, 4 * width, batchnorm),
        )
        pixels = -(-height // 8) * -(-breadth // 8)  # rounded up, as strided convolutions with padding 1 do
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(4 * width * pixels, num_outputs))

    @staticmethod
    def _block(fan_in: int, fan_out: int, batchnorm: bool) -> nn.Sequential:
        """Convolution, BatchNorm, ReLU."""
        convolution = nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1, bias=not batchnorm)
        return nn.Sequential(convolution, nn.BatchNorm2d(fan_out) if batchnorm else nn.Identity(), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to outputs `(B, num_outputs)`."""
        outputs: Tensor = self.classifier(self.features(images))
        return outputs


def convnet(input_shape: tuple[int, ...], num_outputs: int, *, width: Count = 16, batchnorm: bool = True) -> ConvNet:
    """Build a `ConvNet` for images of any size."""
    return ConvNet(image_shape("convnet", input_shape), num_outputs, width, batchnorm)
