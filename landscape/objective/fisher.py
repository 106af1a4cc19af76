r"""Which matrices are called Fisher, by the slopes that they are made of.

With :math:`r_i = \nabla_z \ell(z_i, y_i)` for outputs :math:`z_i` and Jacobian :math:`J_i`, each of them is

.. math:: F = \frac1n \sum_{i=1}^n J_i^\top\, E[r_i r_i^\top]\, J_i

and they differ in where the targets come from. `exact`: the expectation over :math:`y \sim p(y \mid z_i)`, the model's
own distribution: the softmax for cross-entropy and, for `mse` over C components, the normal one of variance C/2
around z. Both losses being negative log-likelihoods with the natural parameter z, it equals the Gauss-Newton matrix.
`sampled`: the mean over a few draws of such targets, unbiased for `exact`. `empirical`: the data's own targets, so that
it is the second moment of the samples' gradients; no approximation of the other two unless the model fits the data's
distribution (arXiv 1905.12558).

Of tokens a sample's slopes are those of its whole sequence, and n is the number of tokens: the draws of different
tokens being independent, the expectation is again the sum over tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.objective.losses import IGNORED_TOKEN, Loss, cross_entropy, mse, per_sample

KINDS = ("exact", "sampled", "empirical")
LIKELIHOODS = (cross_entropy, mse)
"""Losses that are negative log-likelihoods, up to a constant."""


def check_kind(kind: str, loss: Loss) -> str:
    """Return the kind's name.

    Raises:
        RequestError: For an unknown one, or one that needs the model's distribution where the loss implies none.
    """
    if kind not in KINDS:
        raise unknown("kind of Fisher matrix", kind, KINDS)
    if kind != "empirical" and loss not in LIKELIHOODS:
        raise RequestError(
            f"the {kind} Fisher matrix needs the model's distribution, which a loss of your own doesn't tell; "
            "take kind='empirical', or GaussNewton"
        )
    return kind


def slopes(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient of each sample's loss by its outputs, of the outputs' shape `(B, *)`."""
    place = outputs.detach().requires_grad_()
    values, _ = per_sample(loss, place, targets, len(outputs), "loss")
    gradient: Tensor = torch.autograd.grad(values.sum(), place, allow_unused=True, materialize_grads=True)[0]
    return gradient


@torch.no_grad()
def draw_targets(loss: Loss, outputs: Tensor, targets: Tensor, generator: torch.Generator) -> Tensor:
    """Targets drawn from the model's distribution; tokens without a target stay so.

    Args:
        loss: Cross-entropy or `mse`.
        outputs: Shape `(B, *, classes)`, or `(B, *)` for `mse`.
        targets: The data's.
        generator: On the outputs' device.

    Returns:
        Shaped as the targets, or as the outputs for `mse`.
    """
    if loss is mse:
        noise = torch.randn(outputs.shape, generator=generator, device=outputs.device, dtype=outputs.dtype)
        return outputs + math.sqrt(outputs[0].numel() / 2) * noise
    probabilities = outputs.softmax(-1).flatten(0, -2)
    drawn = torch.multinomial(probabilities, 1, generator=generator).view(targets.shape)
    return torch.where(targets == IGNORED_TOKEN, targets, drawn)
