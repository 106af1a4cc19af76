r"""SGD with a constant step on convex finite sums: a fast start, then a noise ball whose radius grows with the step.

From top to bottom: paths of SGD (batch 2) and GD on the contours of a linear regression; their distance to the optimum;
the radius of the noise ball against the step size, measured over many runs, beside the exact theory
:math:`\sqrt{\operatorname{tr} \Sigma}` and its limit for small steps, :math:`\propto \sqrt\alpha` (the equation for
:math:`\Sigma` is derived at `landscape.testing.LinearRegression.stationary_covariance`); and strongly convex logistic
regression, where each batch size ends on a floor of its own while GD goes on.

Batches are drawn independently with replacement, so that the theory is exact. Near the optimum
:math:`f - f^* \approx \frac12 e^\top H e`, and half the trace of Lyapunov's equation
:math:`H\Sigma + \Sigma H = \frac\alpha b C` says where the floor is:
:math:`\mathbb{E}(f - f^*) \approx \frac\alpha{4b} \operatorname{tr} C`, C the covariance of a sample's gradient.

References:
    Mulayoff & Michaeli, "Exact mean square linear stability analysis for SGD", arXiv 2306.07850; Mandt, Hoffman & Blei,
    "Stochastic gradient descent as approximate Bayesian inference", arXiv 1704.04289.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import noise_runs
from .mechanism import Experiment, Options
from .noise_runs import Line, Logistic
from .sweeping import QUANTILES, compute

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure
    from landscape.sweeps.schema import Sweep

NODE = "noise_ball"


@dataclass(frozen=True)
class Recipe:
    """SGD on two convex finite sums."""

    line: Line = field(default_factory=Line)
    logistic: Logistic = field(default_factory=Logistic)


PRESETS = {
    "smoke": Recipe(
        Line(lrs=(0.1, 0.4), steps=60, runs=20, ball_lrs=(0.05, 0.1, 0.2), ball_runs=200),
        Logistic(batches=(10, 50, 200), lr=0.06, steps=150, runs=10),
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Run SGD and GD on both problems."""
    compute(NODE, recipe, path, options, lambda: make_sweeps(recipe), describe="SGD")


def make_sweeps(recipe: Recipe) -> list[Sweep]:
    """The straight line's loss, paths and noise balls, and the logistic regression."""
    from landscape.sweeps.schema import Sweep, Variable

    line, logistic = recipe.line, recipe.logistic
    problem, names = noise_runs.line_problem(line), ["intercept", "slope"]
    minimum = problem.minimum().numpy()
    reach = np.abs(np.array(line.start) - minimum).max() * np.array([-1.12, 0.58])
    distance = {"long_name": "distance to the optimum", "units": "1"}
    radius = {"long_name": "radius of the noise ball", "units": "1"}
    excess = {"long_name": "f − f*", "units": "nats"}
    common: dict[str, Any] = {"arguments": {"recipe": recipe}}
    return [
        Sweep(
            node=f"{NODE}/loss",
            coords={
                **{name: np.linspace(*(m + reach), 81) for name, m in zip(names, minimum, strict=True)},
                "parameter": names,
                "minimum": ("parameter", minimum),
                "sample": line.samples,
                "place": ("sample", problem.inputs[:, 1].numpy()),
                "height": ("sample", problem.targets[:, 0].numpy()),
            },
            over=("intercept",),
            variables={"loss": Variable(("intercept", "slope"), attrs={"long_name": "mean squared error"})},
            function=f"{noise_runs.__name__}:loss_evaluator",
            block={"intercept": 81},
            **common,
        ),
        Sweep(
            node=f"{NODE}/path",
            coords={
                "optimizer": ["sgd", "gd"],
                "lr": line.lrs,
                "step": line.steps + 1,
                "parameter": names,
                "other": names,
            },
            over=("optimizer", "lr"),
            variables={
                "theta": Variable(("optimizer", "lr", "step", "parameter")),
                "distance": Variable(("optimizer", "lr", "step"), attrs=distance),
                "covariance": Variable(("optimizer", "lr", "parameter", "other")),
            },
            function=f"{noise_runs.__name__}:path_evaluator",
            block={"optimizer": 2, "lr": len(line.lrs)},
            **common,
        ),
        Sweep(
            node=f"{NODE}/radius",
            coords={"lr": line.ball_lrs},
            over=("lr",),
            variables={
                name: Variable(("lr",), attrs=radius) for name in ("radius", "radius_stderr", "theory", "limit")
            },
            function=f"{noise_runs.__name__}:radius_evaluator",
            block={"lr": len(line.ball_lrs)},
            **common,
        ),
        Sweep(
            node=f"{NODE}/logistic",
            coords={"batch": logistic.batches, "step": logistic.steps + 1, "quantile": list(QUANTILES)},
            over=("batch",),
            variables={
                "excess": Variable(("batch", "step"), attrs=excess),
                "excess_quantile": Variable(("batch", "step", "quantile"), attrs=excess),
                "distance": Variable(("batch", "step"), attrs=distance),
                "distance_quantile": Variable(("batch", "step", "quantile"), attrs=distance),
                "floor": Variable(("batch",), attrs=excess),
                "operations": Variable(("batch",), attrs={"long_name": "operations per step", "units": "1"}),
            },
            function=f"{noise_runs.__name__}:logistic_evaluator",
            block={"batch": len(logistic.batches)},
            **common,
        ),
    ]


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Paths and distances of the linear regression, its noise ball, and the logistic regression."""
    from landscape.figures.noise_ball import noise_ball_figure

    return noise_ball_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.noise_ball import noise_ball_caption

    return noise_ball_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
