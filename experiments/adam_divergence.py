r"""Where Adam fails and why: Reddi et al.'s convex problems, and the cycle on a parabola; where AdaGrad pays.

1. The online sequence :math:`f_t(x) = Cx` for t mod 3 = 1 and :math:`-x` otherwise, on [-1, 1] with C > 2: the best
   point is -1, for each three steps add up to a slope of C - 2. Adam with :math:`\beta_1 = 0`,
   :math:`\beta_2 = 1/(1 + C^2)` and :math:`\alpha_t = \alpha/\sqrt t` ends at +1 (theorem 1): the rare large gradient
   is divided by itself, and forgotten when the small ones come. AMSGrad doesn't forget.
2. The stochastic variant: slope C with probability :math:`(1 + \delta)/(1 + C)`, else -1, so :math:`\delta` on average,
   and -1 is best again (theorem 3), with ordinary :math:`\beta_1, \beta_2` and a constant step.
3. Adam on :math:`L(w) = w^2` with a constant step doesn't converge: near the minimum the step is
   :math:`\alpha m / \sqrt v`, whatever the size of the gradient. With v held fixed the iteration is stable while
   :math:`L'' / \sqrt v < 2(1 + \beta_1) / (\alpha (1 - \beta_1))`; v falls until that bound is met, and rises with the
   oscillation beyond it. So it hovers where :math:`\langle (2w)^2 \rangle \approx v`:
   :math:`w_\mathrm{rms} \approx \frac{\alpha (1 - \beta_1)}{2 (1 + \beta_1)}`, in proportion to the step.
4. Logistic regression whose rare features tell most: AdaGrad against SGD with a constant and with a falling step, all
   tuned on the same grid; and the same with dense features.

References:
    Reddi, Kale & Kumar, "On the convergence of Adam and beyond", arXiv 1904.09237; Cohen et al., "Adaptive gradient
    methods at the edge of stability", arXiv 2207.14484 (the bound of item 3); Duchi, Hazan & Singer, "Adaptive
    subgradient methods", JMLR 2011.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import adam_runs
from .adam_runs import Features, Online, Parabola, Stochastic
from .mechanism import Experiment, Options
from .sweeping import QUANTILES, compute

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure
    from landscape.sweeps.schema import Sweep, Variable

NODE = "adam_divergence"


@dataclass(frozen=True)
class Recipe:
    """Four problems."""

    online: Online = field(default_factory=Online)
    stochastic: Stochastic = field(default_factory=Stochastic)
    parabola: Parabola = field(default_factory=Parabola)
    features: Features = field(default_factory=Features)


PRESETS = {
    "smoke": Recipe(
        Online(steps=600),
        Stochastic(steps=3000, runs=10),
        Parabola(
            methods=("sgd", "momentum", "adam:0.95"),
            steps=600,
            cycle_methods=("adam:0.95",),
            cycle_lrs=(0.1, 0.3),
            cycle_starts=(1.0,),
            cycle_steps=1000,
        ),
        Features(samples=200, inputs=12, steps=100, every=20, lrs=(0.1, 1.0), seeds=2),
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Follow the optimizers on all four problems."""
    compute(NODE, recipe, path, options, lambda: make_sweeps(recipe), describe="methods")


def make_sweeps(recipe: Recipe) -> list[Sweep]:
    """One for each problem, and one for the size of the cycle on the parabola."""
    from landscape.sweeps.schema import Sweep, Variable

    online, stochastic, parabola, features = recipe.online, recipe.stochastic, recipe.parabola, recipe.features
    here, arguments = adam_runs.__name__, {"recipe": recipe}
    iterate = {"long_name": "iterate", "units": "1"}
    nats = {"long_name": "f − f*", "units": "nats"}

    def sweep(
        node: str, coords: dict[str, Any], variables: dict[str, Variable], over: str, whole: bool = True
    ) -> Sweep:
        return Sweep(
            node=f"{NODE}/{node}",
            coords=coords,
            over=(over,),
            variables=variables,
            function=f"{here}:{node}_evaluator",
            arguments=arguments,
            block={over: len(coords[over]) if whole else 1},
        )

    return [
        sweep(
            "features",
            {
                "data": list(features.data),
                "method": list(features.methods),
                "lr": np.array(features.lrs),
                "step": np.arange(0, features.steps + 1, features.every),
                "seed": features.seeds,
            },
            {"excess": Variable(("data", "method", "lr", "step", "seed"), attrs=nats)},
            "data",
            whole=False,
        ),
        sweep(
            "stochastic",
            {
                "optimizer": list(stochastic.optimizers),
                "step": np.arange(0, stochastic.steps + 1, stochastic.every),
                "quantile": list(QUANTILES),
            },
            {
                "x": Variable(("optimizer", "step"), attrs=iterate),
                "x_quantile": Variable(("optimizer", "step", "quantile"), attrs=iterate),
            },
            "optimizer",
        ),
        sweep(
            "online",
            {"optimizer": list(online.optimizers), "step": np.arange(1, online.steps + 1)},
            {
                "x": Variable(("optimizer", "step"), attrs=iterate),
                "regret": Variable(("optimizer", "step"), attrs={"long_name": "mean regret", "units": "1"}),
            },
            "optimizer",
        ),
        sweep(
            "parabola",
            {"method": list(parabola.methods), "step": parabola.steps + 1},
            {"w": Variable(("method", "step"), attrs=iterate)},
            "method",
        ),
        sweep(
            "cycle",
            {
                "method": list(parabola.cycle_methods),
                "lr": np.array(parabola.cycle_lrs),
                "start": np.array(parabola.cycle_starts),
            },
            {"size": Variable(("method", "lr", "start"), attrs={"long_name": "rms of the iterates", "units": "1"})},
            "method",
            whole=False,
        ),
    ]


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Reddi et al.'s problems above, the parabola in the middle, sparse features below."""
    from landscape.figures.adam_divergence import adam_divergence_figure

    return adam_divergence_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.adam_divergence import adam_divergence_caption

    return adam_divergence_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
