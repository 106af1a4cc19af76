"""What an architecture asks of a sample's shape."""

from __future__ import annotations

from landscape.errors import RequestError


def image_shape(model: str, input_shape: tuple[int, ...], minimum: int = 1) -> tuple[int, int, int]:
    """Check that samples are images that a convolutional network can take.

    Args:
        model: Name of the network, for the message.
        input_shape: Shape of one sample.
        minimum: Least height and width.

    Returns:
        Channels, height and width.

    Raises:
        RequestError: If the samples are no images, or too small ones.
    """
    if len(input_shape) != 3:
        raise RequestError(
            f"model '{model}' takes images (channels, height, width), but a sample has shape {tuple(input_shape)}; "
            "take 'mlp' or 'softmax', or give the data that shape"
        )
    channels, height, width = input_shape
    if min(height, width) < minimum:
        raise RequestError(
            f"model '{model}' takes images of at least {minimum}x{minimum} pixels, but a sample is {height}x{width}"
        )
    return channels, height, width
