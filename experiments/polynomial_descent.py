"""Double descent of polynomial fitting: minimum-norm fits of 2x + cos 25x through 15 points by 1 to 200 functions.

Grid: data, true function and fit for a rising number of Legendre polynomials. Below: median risk by basis and ridge.
The animation is `landscape show polynomial_descent.zarr --figure polynomial_descent.gif`.
"""

from __future__ import annotations

from landscape.studies.descent import PolynomialRecipe

from .descent_runs import descent_experiment

RIDGE = (0.0, 0.001, 0.1)
PRESETS = {
    "smoke": PolynomialRecipe(capacities=tuple(range(1, 41)), repetitions=5, ridge=RIDGE),
    "cpu": PolynomialRecipe(ridge=RIDGE),
}
EXPERIMENT = descent_experiment(
    "polynomial_descent",
    PRESETS,
    figure="landscape.figures.descent_lecture:polynomial_figure",
    caption="landscape.figures.descent_captions:polynomial_caption",
)
