"""VGG for CIFAR: blocks of 3x3 convolutions, each halved by pooling, and a fully connected classifier.

References:
    K. Simonyan and A. Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556, configuration D.
    T. Garipov et al., Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs, arXiv:1802.10026: the
    classifier's two hidden layers of 512.
"""

from __future__ import annotations

from torch import Tensor, nn

from landscape.networks.zoo.residual import initialize_he
from landscape.networks.zoo.shapes import image_shape
from landscape.settings import Count, Fraction

VGG16 = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # channels in multiples of the width, pooling between


class VGG(nn.Module):
    """Thirteen convolutions in five blocks, each ended by max-pooling, and three linear layers.

    Args:
        input_shape: Channels, height and width of an image, the latter at least 32.
        num_outputs: Number of outputs.
        batchnorm: Whether BatchNorm follows each convolution.
        width: Channels of the first block; the last ones and the classifier have eight times as many.
        dropout: Probability of dropping an input of the classifier's hidden layers.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        batchnorm: bool = False,
        width: int = 64,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        fan_in, height, breadth = input_shape
        layers: list[nn.Module] = []
        for block in VGG16:
            for multiple in block:
                layers.append(nn.Conv2d(fan_in, multiple * width, 3, padding=1))
                layers += [nn.BatchNorm2d(multiple * width)] if batchnorm else []
                layers.append(nn.ReLU())
                fan_in = multiple * width
            layers.append(nn.MaxPool2d(2))
        halvings = 2 ** len(VGG16)
        hidden = 8 * width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(fan_in * (height // halvings) * (breadth // halvings), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_outputs),
        )
        initialize_he(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images `(B, C, H, W)` to outputs `(B, num_outputs)`."""
        outputs: Tensor = self.classifier(self.features(images))
        return outputs


def vgg16(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    batchnorm: bool = False,
    width: Count = 64,
    dropout: Fraction = 0.5,
) -> VGG:
    """Build a `VGG` of 16 layers with weights, for images of at least 32x32 pixels."""
    shape = image_shape("vgg16-bn" if batchnorm else "vgg16", input_shape, minimum=32)
    return VGG(shape, num_outputs, batchnorm, width, dropout)
