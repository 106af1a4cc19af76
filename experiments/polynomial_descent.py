"""Double descent of polynomial fitting: minimum-norm fits of 2x + cos 25x through 15 points by 1 to 200 functions.

Grid: data, true function and fit for a rising number of Legendre polynomials. Below: median risk by basis and ridge.
The animation is `landscape show polynomial_descent.zarr --figure polynomial_descent.gif`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NAME = "polynomial_descent"


@dataclass(frozen=True)
class Recipe:
    """Fits in three bases, as `landscape descent polynomial` has them.

    Args:
        bases: Bases of functions on [-1, 1].
        functions: Largest number of basis functions.
        samples: Training points.
        repetitions: Draws of them.
        ridge: Minimum norm, and ridges beside it.
        seed: First of the repetitions' seeds.
    """

    bases: tuple[str, ...] = ("legendre", "chebyshev", "monomial")
    functions: int = 200
    samples: int = 15
    repetitions: int = 30
    ridge: tuple[float, ...] = (0.0, 0.001, 0.1)
    seed: int = 0


PRESETS = {"smoke": Recipe(functions=40, repetitions=5), "cpu": Recipe()}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Fit all; the store is one of `landscape descent`, so that `landscape show` draws and animates it, too."""
    from landscape.studies.descent import PolynomialRecipe, descent

    descent(
        PolynomialRecipe(
            bases=recipe.bases,
            capacities=tuple(range(1, recipe.functions + 1)),
            samples=recipe.samples,
            repetitions=recipe.repetitions,
            ridge=recipe.ridge,
            seed=recipe.seed,
        ),
        path,
        engine=options.engine,
        workers=options.workers,
        progress=options.progress,
    )


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Fits by degree, and the risks of all bases."""
    from landscape.figures.descent_lecture import polynomial_figure

    return polynomial_figure(tree)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.descent_captions import polynomial_caption

    return polynomial_caption(tree)


EXPERIMENT = Experiment(NAME, PRESETS, run, figure, caption)
