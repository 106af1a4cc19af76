"""All measures by name, and the one way to take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.measures.adaptive_average_sharpness import adaptive_average_sharpness
from landscape.measures.adaptive_sharpness import adaptive_sharpness
from landscape.measures.average_sharpness import average_sharpness
from landscape.measures.fisher_rao_norm import fisher_rao_norm
from landscape.measures.fisher_trace import fisher_trace
from landscape.measures.ggn_trace import ggn_trace
from landscape.measures.gradient_noise_scale import gradient_noise_scale
from landscape.measures.hessian_density import hessian_density
from landscape.measures.hessian_frobenius import hessian_frobenius
from landscape.measures.hessian_max import hessian_max
from landscape.measures.hessian_top import hessian_top
from landscape.measures.hessian_trace import hessian_trace
from landscape.measures.keskar_sharpness import keskar_sharpness
from landscape.measures.local_learning_coefficient import local_learning_coefficient
from landscape.measures.measured import Journal, Measured, Point, forgetful
from landscape.measures.pac_bayes_sigma import pac_bayes_sigma
from landscape.measures.pgd_sharpness import pgd_sharpness
from landscape.measures.relative_flatness import relative_flatness
from landscape.measures.sam_bound import sam_bound
from landscape.measures.sam_sharpness import sam_sharpness
from landscape.objective.determinism import check_deterministic
from landscape.objective.objective import Objective
from landscape.settings import resolve

LOSS = "loss"
CURVATURE = "loss / distance²"


@dataclass(frozen=True)
class Entry:
    """A measure.

    Args:
        function: Of a `Point`; its keyword-only parameters are settings.
        words: What it is, in one line.
        units: Of the value; `loss` stands for the loss's own.
        dims: The measure's own dimensions, in order.
        more: Dimensions of each further result.
        random: Whether the value depends on the seed beyond rounding.
    """

    function: Callable[..., Measured]
    words: str
    units: str
    dims: tuple[str, ...] = ()
    more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    random: bool = True


RHO = ("rho",)
METHOD: dict[str, tuple[str, ...]] = {"method": ()}
SPECTRUM = {
    "low": ("eigenvalue",),
    "high": ("eigenvalue",),
    "nodes": ("probe", "lanczos"),
    "weights": ("probe", "lanczos"),
}

MEASURES: dict[str, Entry] = {
    "sam_sharpness": Entry(sam_sharpness, "rise of the loss by one ascent step of length rho", LOSS, RHO, random=False),
    "pgd_sharpness": Entry(pgd_sharpness, "largest rise of the loss found within rho", LOSS, RHO),
    "keskar_sharpness": Entry(keskar_sharpness, "largest relative rise of the loss in Keskar's box", "percent"),
    "adaptive_sharpness": Entry(adaptive_sharpness, "largest rise within rho in units of the weights", LOSS, RHO),
    "adaptive_average_sharpness": Entry(
        adaptive_average_sharpness, "mean rise under normal steps in units of the weights", LOSS, RHO
    ),
    "average_sharpness": Entry(average_sharpness, "mean rise under normal steps of r.m.s. length rho", LOSS, RHO),
    "hessian_max": Entry(hessian_max, "largest eigenvalue of the Hessian", CURVATURE, more={"residual": ()}),
    "hessian_top": Entry(
        hessian_top, "largest eigenvalues of the Hessian", CURVATURE, ("k",), {"residual": ("k",), "ratio": ()}
    ),
    "hessian_trace": Entry(hessian_trace, "trace of the Hessian", CURVATURE, more=METHOD),
    "hessian_frobenius": Entry(hessian_frobenius, "Frobenius norm of the Hessian", CURVATURE),
    "hessian_density": Entry(
        hessian_density, "density of the Hessian's eigenvalues", "distance² / loss", ("eigenvalue",), SPECTRUM
    ),
    "ggn_trace": Entry(ggn_trace, "trace of the Gauss-Newton matrix", CURVATURE, more=METHOD),
    "fisher_trace": Entry(fisher_trace, "trace of the Fisher matrix", "loss² / distance²", more=METHOD),
    "pac_bayes_sigma": Entry(
        pac_bayes_sigma, "normal perturbation that raises the error by 0.1", "distance in weight space per coordinate"
    ),
    "relative_flatness": Entry(relative_flatness, "curvature of a layer in units of its weights", LOSS),
    "fisher_rao_norm": Entry(fisher_rao_norm, "length of the weights in Fisher's metric", LOSS, random=False),
    "gradient_noise_scale": Entry(gradient_noise_scale, "batch size at which noise equals gradient", "samples"),
    "local_learning_coefficient": Entry(
        local_learning_coefficient,
        "local learning coefficient, half the directions that the loss feels",
        "1",
        more={"chain": ("chain",), "r_hat": (), "finite": (), "shortened": (), "negative": ()},
    ),
    "sam_bound": Entry(sam_bound, "largest loss found within rho, SAM's bound's first term", LOSS, RHO),
}


def find_measure(name: str) -> Entry:
    """A measure by name.

    Raises:
        RequestError: If there is none, naming the nearest.
    """
    if name not in MEASURES:
        raise unknown("measure", name, MEASURES)
    return MEASURES[name]


def resolve_measure(name: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All settings of a measure, checked.

    Raises:
        RequestError: If a setting is unknown or out of range.
    """
    found = resolve(f"measure '{name}'", find_measure(name).function, settings)
    if not found.get("rho", True):
        raise RequestError(f"measure '{name}': setting 'rho' has no values: give at least one radius")
    return found


def measure(
    name: str,
    objective: Objective,
    theta: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    journal: Journal = forgetful,
    checked: bool = False,
    **settings: Any,
) -> Measured:
    """Take a measure at a point.

    Args:
        name: One of `MEASURES`.
        objective: The loss; its model is left as it was.
        theta: The point, shape `(D,)`; the model's own parameters by default.
        generator: Randomness, on the CPU; seed 0 by default.
        journal: Keeps intermediate results of long measures.
        checked: Whether the model is known to be deterministic.
        **settings: Those of the measure.

    Raises:
        RequestError: If name, settings or theta can't be used, or the model is random in evaluation mode.
    """
    entry, chosen = find_measure(name), resolve_measure(name, settings)
    theta = objective.theta if theta is None else theta.detach().to(objective.device, objective.dtype)
    if theta.shape != (objective.num_parameters,):
        raise RequestError(f"expected theta of shape ({objective.num_parameters},), got {tuple(theta.shape)}")
    if not bool(theta.isfinite().all()):
        raise RequestError("theta holds values that are not finite: nothing can be measured there")
    if not checked:
        check_deterministic(objective)
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    return entry.function(Point(objective, theta, generator, journal), **chosen)
