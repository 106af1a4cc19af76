"""The local learning coefficient, by Langevin dynamics around the point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from landscape.errors import RequestError
from landscape.measures.curved import top
from landscape.measures.measured import Measured, Point, State, widened
from landscape.objective.curvature import Hessian
from landscape.settings import Draws, NonNegativeCount, Positive

HALVINGS = 12
"""Shorter steps that are tried where a chain doesn't stay finite."""
PRODUCTS = 50
"""With the Hessian, for the step size: a rough eigenvalue will do."""


def local_learning_coefficient(
    point: Point,
    *,
    chains: Draws = 4,
    draws: Draws = 300,
    burn_in: NonNegativeCount = 100,
    localization: Positive = 100.0,
    step: Positive = 0.5,
) -> Measured:
    r"""The local learning coefficient :math:`\hat\lambda = n \beta\, (\mathbb{E} L(w) - L(w^*))`, without unit.

    :math:`\beta = 1 / \log n` for n samples, and the mean is over the tempered posterior around :math:`w^*`, the point,

    .. math:: p(w) \propto \exp(-U(w)), \qquad U(w) = n \beta L(w) + \frac\gamma2 \|w - w^*\|^2.

    It counts the directions that the loss feels, each one half: D/2 in a regular minimum, less in a singular one. It
    speaks of minima: elsewhere, and for a :math:`\gamma` so weak that the chains leave, it can be negative.

    Langevin dynamics with the full gradient (SGLD without the minibatches' noise) samples it, in the discretisation of
    Leimkuhler and Matthews, :math:`w \leftarrow w - \delta \nabla U + \sqrt{\delta/2}\, (\xi_k + \xi_{k+1})`, whose
    stationary law is exact for a quadratic, however long the step. Each chain starts at the point.
    Further results: the estimate of each `chain`; `r_hat`, near 1 if the halves of all chains agree; `finite`, the
    share of finite draws; `shortened`, how often the step was halved because chains didn't stay finite; and `negative`.

    Args:
        point: :math:`w^*`.
        chains: Independent chains; the standard error is over them.
        draws: Steps of each that count.
        burn_in: Steps of each before that.
        localization: :math:`\gamma`. It adds :math:`\gamma` to each curvature :math:`n \beta h`, and thereby takes
            :math:`\gamma / (\gamma + n \beta h)` of that direction's half away.
        step: :math:`\delta` in units of :math:`1 / (n \beta \lambda_{\max} + \gamma)`; from 2 on it is unstable.

    Raises:
        RequestError: If there are too few samples for a temperature.

    References:
        Lau, Furman, Wang, Murfet & Wei, "The local learning coefficient: a singularity-aware complexity measure", arXiv
        2308.12108; Leimkuhler & Matthews, "Rational construction of stochastic numerical methods for molecular
        sampling", arXiv 1203.5428.
    """
    objective, theta = point.objective, point.theta
    n = objective.population or objective.num_samples
    if n < 3:
        raise RequestError(f"a learning coefficient needs at least 3 samples for its temperature, got {n}")
    scale = n / math.log(n)
    hessian = Hessian(objective, theta)
    curvature = max(0.0, float(top(point, hessian, 1, 0.05, PRODUCTS)[0, 0]))
    seeds = [int(torch.randint(2**62, (), generator=point.generator)) for _ in range(chains)]
    own, _ = point.slope(torch.zeros_like(theta))
    length, shortened = step / (scale * curvature + localization), 0
    while True:
        losses = torch.stack([_chain(point, seed, burn_in + draws, length, scale, localization) for seed in seeds])
        if bool(losses.isfinite().all()) or shortened == HALVINGS:
            break
        length, shortened = length / 2, shortened + 1
    values = scale * (losses[:, burn_in:] - own)
    each = values.mean(1)
    mean = float(each.mean())
    return Measured.of(
        mean,
        widened(chains) * float(each.std()) / math.sqrt(chains),
        chain=each,
        r_hat=_r_hat(values),
        finite=float(values.isfinite().double().mean()),
        shortened=shortened,
        negative=float(mean < 0),
    )


def _chain(point: Point, seed: int, steps: int, length: float, scale: float, localization: float) -> Tensor:
    """The losses along one chain, from its second point on, shape `(steps,)`; NaN after one that isn't finite."""

    def compute() -> State:
        generator = torch.Generator().manual_seed(seed)

        def noise() -> Tensor:
            return torch.randn(len(point.theta), generator=generator).to(point.theta)

        losses = torch.full((steps,), math.nan, dtype=torch.float64)
        away, noises = torch.zeros_like(point.theta), (noise(), noise())
        _, slope = point.objective.gradient(point.theta)
        for index in range(steps):
            away = away - length * (scale * slope + localization * away) + math.sqrt(length / 2) * sum(noises)
            noises = (noises[1], noise())
            losses[index], slope = point.objective.gradient(point.theta + away)
            if not math.isfinite(losses[index]):
                break
        return {"losses": losses}

    return point.journal(compute)["losses"]


def _r_hat(values: Tensor) -> float:
    """Gelman and Rubin's potential scale reduction over the halves of chains, shape `(chains, draws)`."""
    half = values.shape[1] // 2
    halves = torch.cat([values[:, :half], values[:, -half:]])
    within, between = halves.var(1).mean() if half > 1 else torch.tensor(math.nan), halves.mean(1).var()
    return float(((half - 1) / half + between / within).sqrt())
