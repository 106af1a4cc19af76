"""Weight reuse: a network that begins where a narrower one ended."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from landscape.errors import RequestError


@torch.no_grad()
def grow(narrow: Mapping[str, Tensor], wide: nn.Module) -> None:
    """Write a narrower network's tensors into the leading parts of a wider one's, whose other weights stay as drawn.

    Channels and units keep their numbers; a linear layer behind flattened channels, channel by channel, does too.

    Args:
        narrow: State of the narrower network.
        wide: The wider one, changed in place.

    Raises:
        RequestError: If the two aren't of one architecture, or one of the tensors is smaller in the wider.

    References:
        M. Belkin et al., Reconciling modern machine learning practice and the bias-variance trade-off,
        arXiv 1812.11118, appendix D.
    """
    state = wide.state_dict()
    if state.keys() != narrow.keys():
        raise RequestError("weights can't be reused: the wider network has other tensors than the narrower")
    for name, tensor in narrow.items():
        target = state[name]
        if tensor.ndim != target.ndim or any(a > b for a, b in zip(tensor.shape, target.shape, strict=True)):
            raise RequestError(
                f"weights can't be reused: '{name}' of shape {tuple(tensor.shape)} doesn't fit into "
                f"{tuple(target.shape)}"
            )
        target[tuple(slice(size) for size in tensor.shape)] = tensor
