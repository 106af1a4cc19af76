r"""A network's parameters as one vector :math:`\theta \in \mathbb{R}^D`.

The layout is the dictionary between the two: tensor names and shapes in the module's own order, each tied
tensor once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

from landscape.errors import RequestError


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors that make up theta, in order.

    Args:
        names: Qualified parameter names, such as `layers.0.weight`.
        shapes: Their shapes.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @classmethod
    def of(cls, module: nn.Module, pattern: str | None = None) -> Layout:
        """Read the layout of a module.

        Args:
            module: Any module; a parameter that is used twice (tied) counts once.
            pattern: Regular expression searched for in the names; only matching tensors are part of theta.

        Raises:
            RequestError: If no parameter is left, or the pattern is no regular expression.
        """
        tensors = dict(module.named_parameters())
        try:
            chosen = {name: p for name, p in tensors.items() if pattern is None or re.search(pattern, name)}
        except re.error as error:
            raise RequestError(f"parameters='{pattern}' is no regular expression: {error}") from error
        if not tensors:
            raise RequestError("the model has no parameters: a loss landscape needs at least one")
        if not chosen:
            raise RequestError(f"parameters='{pattern}' matches none of: {', '.join(tensors)}")
        return cls(tuple(chosen), tuple(p.shape for p in chosen.values()))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each tensor."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def num_parameters(self) -> int:
        """The dimension D of theta."""
        return sum(self.sizes)

    def flatten(self, tensors: Mapping[str, Tensor] | Iterable[Tensor]) -> Tensor:
        """Join the tensors to one vector.

        Args:
            tensors: One tensor for each name, as a mapping or in the layout's order.

        Returns:
            A new tensor, shape `(D,)`.
        """
        ordered = [tensors[name] for name in self.names] if isinstance(tensors, Mapping) else tensors
        return torch.cat([tensor.detach().reshape(-1) for tensor in ordered])

    def split(self, theta: Tensor) -> tuple[Tensor, ...]:
        """Cut a vector into views with the layout's shapes.

        Args:
            theta: Shape `(D,)`.

        Returns:
            One view of theta for each name.

        Raises:
            RequestError: If theta has another shape.
        """
        if theta.shape != (self.num_parameters,):
            raise RequestError(f"expected theta of shape ({self.num_parameters},), got {tuple(theta.shape)}")
        pieces = torch.split(theta, list(self.sizes))
        return tuple(piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True))

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """The same views by name."""
        return dict(zip(self.names, self.split(theta), strict=True))


NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
"""Layers whose weights scale single units, whatever their shape."""


def filter_axes(module: nn.Module, layout: Layout) -> tuple[int | None, ...]:
    """The axis of each tensor along which its filters lie; index i along it gives the weights into unit i.

    Args:
        module: The module that the layout was read from.
        layout: The tensors.

    Returns:
        For each tensor 0 (linear layers, convolutions, embeddings, recurrent layers: one row for each unit), 1 where
        the units lie on the second axis (transposed convolutions, and the `Conv1D` of GPT-2's family), or None for
        tensors without filters: biases, and the weights of normalisation layers.
    """
    owners = {id(tensor): part for part in module.modules() for tensor in part.parameters(recurse=False)}
    named = dict(module.named_parameters())
    axes: list[int | None] = []
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        owner = owners[id(named[name])]
        if len(shape) < 2 or isinstance(owner, NORMS) or name.rpartition(".")[2].startswith("bias"):
            axes.append(None)
        else:
            axes.append(int(isinstance(owner, _ConvTransposeNd) or type(owner).__name__ == "Conv1D"))
    return tuple(axes)
