"""Losses and metrics, each one value per sample.

A loss maps `(outputs, targets)` to a tensor of shape `(B,)`. A loss over tokens returns a pair: the sum over
each sample's tokens, shape `(B,)`, and their number, shape `(B,)`. Means are then taken over all tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import RequestError, reason, unknown

PerSample = Tensor | tuple[Tensor, Tensor]
Loss = Callable[[Any, Any], PerSample]

IGNORED_TOKEN = -100
MISFIT = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError)
"""What models and losses raise when they are given data of another shape or type."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> PerSample:
    """Cross-entropy of logits in nats.

    Args:
        outputs: Logits, shape `(B, classes)`, or `(B, T, vocabulary)` for tokens.
        targets: Class numbers, shape `(B,)` or `(B, T)`; a token of -100 is left out.

    Returns:
        Shape `(B,)`; for tokens the sums and the counts.
    """
    if outputs.ndim == 2:
        return F.cross_entropy(outputs, targets, reduction="none")
    losses = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
    counts = (targets != IGNORED_TOKEN).flatten(1).sum(1)
    return losses.view(len(targets), -1).sum(1), counts


def cross_entropies(outputs: Sequence[Tensor], targets: Tensor) -> Tensor | None:
    """Cross-entropy of the same samples for several networks at once.

    Classes come first in memory meanwhile: a softmax over so few numbers side by side costs seven times as much.

    Args:
        outputs: Logits of each, shape `(B, classes)`.
        targets: Class numbers, shape `(B,)`.

    Returns:
        Shape `(networks, B)`; None for anything else, which is `cross_entropy`'s.
    """
    fitting = targets.ndim == 1 and not targets.is_floating_point() and all(one.ndim == 2 for one in outputs)
    if not fitting or int(targets.min()) < 0 or int(targets.max()) >= outputs[0].shape[1]:
        return None
    logits = torch.cat([one.t() for one in outputs], 1)
    picked = F.log_softmax(logits, 0).gather(0, targets.repeat(len(outputs))[None])
    return picked.neg_().view(len(outputs), -1)


def stablemax_cross_entropy(outputs: Tensor, targets: Tensor) -> PerSample:
    r"""Cross-entropy in nats with StableMax in the place of softmax: it never rounds to zero.

    .. math:: \ell = -\log \frac{s(z_y)}{\sum_j s(z_j)}, \qquad
              s(z) = z + 1 \text{ for } z \ge 0, \quad 1 / (1 - z) \text{ for } z < 0

    Softmax's loss in float32 is exactly zero once a logit leads by some 17, and its gradient with it ("softmax
    collapse"); here the gap has to grow as far as the loss shrinks.

    Args:
        outputs: Logits, shape `(B, classes)`, or `(B, T, vocabulary)` for tokens.
        targets: Class numbers, shape `(B,)` or `(B, T)`; a token of -100 is left out.

    Returns:
        Shape `(B,)`; for tokens the sums and the counts.

    References:
        L. Prieto et al., Grokking at the edge of numerical stability, arXiv:2501.04697, equation 5.
    """
    kept = targets != IGNORED_TOKEN
    place = targets.where(kept, 0).unsqueeze(-1)
    # each branch is finite on the other's side, or its gradient would be NaN there
    scores = torch.where(outputs < 0, 1 / (1 - outputs.clamp(max=0)), outputs + 1)
    others = scores.scatter(-1, place, 0.0).sum(-1, keepdim=True)  # not a difference, which would round to zero
    losses = torch.log1p(others / scores.gather(-1, place)).squeeze(-1)
    if outputs.ndim == 2:
        return losses
    return losses.where(kept, 0.0).flatten(1).sum(1), kept.flatten(1).sum(1)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error, averaged over the components of each sample, in squared units of the targets.

    Args:
        outputs: Shape `(B, *)`.
        targets: The same shape but for axes of length 1, so that `(B,)` stands for `(B, 1)`; or one of the two is
            flattened to `(B, components)`.

    Returns:
        Shape `(B,)`.

    Raises:
        RequestError: If the shapes can't be matched without broadcasting.
    """
    shapes = [[size for size in tensor.shape if size != 1] for tensor in (outputs, targets)]
    flattened = min(outputs.ndim, targets.ndim) <= 2 and outputs.shape[:1] == targets.shape[:1]
    if shapes[0] != shapes[1] and not (flattened and outputs.numel() == targets.numel()):
        raise RequestError(
            f"mse compares equal shapes: outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}; "
            "reshape one of them"
        )
    return (outputs - targets.reshape(outputs.shape)).square().reshape(len(outputs), -1).mean(1)


def square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error against one-hot labels, averaged over the classes.

    Args:
        outputs: Shape `(B, classes)`.
        targets: Class numbers, shape `(B,)`.

    Returns:
        Shape `(B,)`.
    """
    return (outputs - F.one_hot(targets, outputs.shape[-1])).square().mean(1)


def error(outputs: Tensor, targets: Tensor) -> PerSample:
    """0/1 error of the most probable class; shapes as for `cross_entropy`."""
    wrong = outputs.argmax(-1) != targets
    if outputs.ndim == 2:
        return wrong.to(outputs.dtype)
    kept = targets != IGNORED_TOKEN
    return (wrong & kept).flatten(1).sum(1).to(outputs.dtype), kept.flatten(1).sum(1)


LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "stablemax-cross-entropy": stablemax_cross_entropy,
    "mse": mse,
    "square": square,
}
CLASSIFYING = (cross_entropy, stablemax_cross_entropy)
"""Those whose targets are numbers of classes."""
METRICS: dict[str, dict[str, Loss]] = {
    "cross-entropy": {"error": error},
    "stablemax-cross-entropy": {"error": error},
    "mse": {},
    "square": {"error": error},
}


def unit_of(loss: str | Loss) -> str:
    """The unit of a loss: nats where it is a negative log-probability by name."""
    return "nats" if isinstance(loss, str) and loss.endswith("cross-entropy") else "units of the loss"


def resolve_loss(loss: str | Loss, metrics: Mapping[str, Loss] | None = None) -> tuple[Loss, dict[str, Loss]]:
    """The loss by name or as it is, with the metrics that go with it.

    Args:
        loss: A name of `LOSSES` or a per-sample function.
        metrics: Further per-sample functions by name; by default those that belong to the named loss.

    Raises:
        RequestError: For an unknown name.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        return LOSSES[loss], dict(METRICS[loss] if metrics is None else metrics)
    return loss, dict(metrics or {})


def per_sample(function: Loss, outputs: Any, targets: Any, batch: int, name: str) -> tuple[Tensor, Tensor | None]:
    """Call a loss or metric and hold it to the contract.

    Args:
        function: The loss or metric.
        outputs: What the model returned.
        targets: The targets.
        batch: The number of samples B that went in.
        name: Its name, for the message.

    Returns:
        Values or sums `(B,)`, and the counts `(B,)` or None where every sample counts once.

    Raises:
        RequestError: If it can't take outputs and targets, or doesn't return one value per sample.
    """
    try:
        value: Any = function(outputs, targets)
    except (RequestError, torch.OutOfMemoryError):
        raise
    except MISFIT as failure:
        kinds = [str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in (outputs, targets)]
        raise RequestError(
            f"the {name} can't take the model's outputs {kinds[0]} with targets {kinds[1]}: {reason(failure)}"
        ) from failure
    values, counts = value if isinstance(value, tuple) else (value, None)
    if all(isinstance(part, Tensor) and part.shape == (batch,) for part in (values, counts) if part is not None):
        return values, counts
    got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
    raise RequestError(
        f"the {name} returned {got} for {batch} samples; expected one value per sample, shape ({batch},), "
        "as with reduction='none' (average over the other axes yourself)"
    )


def mean(values: Tensor, counts: Tensor | None) -> Tensor:
    """The mean over a batch, differentiable: total over the number of samples, or of tokens where counted."""
    return values.mean() if counts is None else values.sum() / counts.sum()


def logits(outputs: Any) -> Any:
    """The tensor that losses see: the outputs' `.logits` (or entry "logits") where there is one."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    if isinstance(outputs, Mapping) and "logits" in outputs:
        return outputs["logits"]
    return getattr(outputs, "logits", outputs)
