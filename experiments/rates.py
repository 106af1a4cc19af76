r"""The lecture's table of rates, measured: steps to :math:`\epsilon` with full and with stochastic gradients.

Three classes of functions, each with L = 1 and instances that are hard at every scale of the range
(`rates_problems`): quadratics under the Polyak-Łojasiewicz condition; convex, a ladder of Nesterov's worst functions
(and a flat-bottomed one); not convex, a ladder of saturating wells, judged by :math:`\|\nabla f\|^2`.

The steps are the theory's. With the full gradient: :math:`\alpha = 1/L` (GD, Nesterov, and the heavy ball but on
quadratics, where its step and momentum are Polyak's), L-BFGS by line search and counted in gradients. Stochastic, with
Gaussian noise: :math:`\alpha_k = 2/(\mu(k + k_0))` on the quadratics, :math:`1/\sqrt{k+1}` on convex functions, where
the last iterate counts, and a constant :math:`\propto 1/\sqrt T` for each horizon T on those that aren't, where the
last of T steps counts. The quasi-Newton method of the stochastic row is SGD preconditioned by
:math:`(H + \delta I)^{-1}` with the exact curvature H at the minimum: more than any estimate of it could know.

References:
    Karimi, Nutini & Schmidt, "Linear convergence of gradient and proximal-gradient methods under the Polyak-Łojasiewicz
    condition", arXiv 1608.04636; Nesterov, "Introductory lectures on convex optimization", 2004; Bottou, Curtis &
    Nocedal, "Optimization methods for large-scale machine learning", SIAM Review 2018.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import rates_measured, rates_runs
from .mechanism import Experiment, Options
from .rates_runs import Full, Noisy
from .sweeping import compute

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure
    from landscape.sweeps.schema import Sweep

NODE = "rates"


@dataclass(frozen=True)
class Recipe:
    """All methods on all functions.

    Args:
        full: Runs with the full gradient.
        noisy: Runs with stochastic gradients.
        instances: Random instances of each function.
        levels: Number of accuracies.
        least: Steps below which no rate is fitted.
        resamples: Bootstrap samples.
        seed: Of the instances, the noise and the resampling.
    """

    full: Full = field(default_factory=Full)
    noisy: Noisy = field(default_factory=Noisy)
    instances: int = 12
    levels: int = 12
    least: float = 20.0
    resamples: int = 1000
    seed: int = 1


PRESETS = {
    "smoke": Recipe(
        replace(
            Full(),
            conditions=(30.0, 60.0),
            size=16,
            longest=256,
            widest=128.0,
            smallest=(1e-10, 2e-4, 1e-5, 5e-3),
            steps=2000,
            evaluations=200,
        ),
        replace(
            Noisy(),
            conditions=(3.0, 5.0),
            longest=16,
            widest=8.0,
            smallest=(0.02, 5e-3, 5e-5, 3e-2),
            largest=(0.2, 2e-2, 3e-4, 1e-1),
            steps=1000,
            least_horizon=20,
            horizons=8,
            seeds=(16, 2, 4, 3),
        ),
        instances=4,
        levels=6,
        least=5.0,
        resamples=100,
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Run every method on every function."""
    compute(NODE, recipe, path, options, lambda: _sweeps(recipe), "methods")


def _sweeps(recipe: Recipe) -> list[Sweep]:
    """One for each function and kind of gradient, over methods."""
    from landscape.sweeps.schema import Sweep, Variable

    steps = {"long_name": "steps to epsilon", "units": "gradients"}
    sweeps = []
    for problem in rates_runs.PROBLEMS:
        value = {"long_name": "‖∇f‖²" if problem == "wells" else "f − f*", "units": "1"}
        for setting, runs in (("full", recipe.full), ("noisy", recipe.noisy)):
            noisy = isinstance(runs, Noisy)
            linear = problem == "quadratic" and not noisy
            rate = {"long_name": "rate over theory's" if linear else "power of 1/ε", "units": "1"}
            along = ("method", "instance", *(["seed"] if noisy else []), "step")
            kept = rates_runs.record(runs, problem)
            coords: dict[str, Any] = {
                "method": list(rates_runs.methods(runs, problem)),
                "instance": recipe.instances,
                "step": kept,
                "epsilon": rates_runs.epsilons(runs, problem, recipe.levels),
            }
            if isinstance(runs, Noisy):
                coords["seed"] = runs.seeds[rates_runs.PROBLEMS.index(problem)]
            if problem == "quadratic":
                coords["condition"] = ("instance", rates_runs.conditions(runs, recipe.instances))
            names = ["measured", "measured_low", "measured_high", "theory"]
            names += ["kappa_power", "kappa_power_low", "kappa_power_high"] if linear else []
            sweeps.append(
                Sweep(
                    node=f"{NODE}/{setting}/{problem}",
                    coords=coords,
                    over=("method",),
                    variables={
                        "curve": Variable(along, "float32", attrs=value),
                        "steps_to_epsilon": Variable(("method", "instance", "epsilon"), attrs=steps),
                        **{name: Variable(("method",), attrs=rate) for name in names},
                    },
                    function=f"{rates_measured.__name__}:{setting}_evaluator",
                    arguments={"recipe": recipe, "problem": problem},
                    attrs={"measure": "ratio" if linear else "power"},
                )
            )
    return sweeps


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Steps against 1/epsilon, with the full gradient above and stochastic gradients below, and the tables of rates."""
    from landscape.figures.rates import rates_figure

    return rates_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.rates import rates_caption

    return rates_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
