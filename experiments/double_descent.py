"""Belkin et al.'s two panels, measured: the classical U of the risk, and its second descent beyond the threshold.

Random Fourier features on handwritten digits with wrong labels, fitted by minimum-norm least squares: the left panel
ends before the threshold, the right one goes on to ten times as many features as samples.

References:
    M. Belkin et al., Reconciling modern machine learning practice and the bias-variance trade-off, arXiv 1812.11118.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NAME = "double_descent"


@dataclass(frozen=True)
class Recipe:
    """Random Fourier features on digits, as `landscape descent features` has them.

    Args:
        features: Numbers of features.
        samples: Training samples.
        test_samples: Test samples.
        repetitions: Training sets.
        draws: Draws of features for each.
        noise: Fraction of wrong training labels.
    """

    features: tuple[int, ...] = (
        *(4, 6, 9, 13, 19, 28, 40, 56, 75, 95, 115, 135, 155, 175, 195, 215, 235, 250, 262, 273, 282, 290, 295, 298),
        *(300, 302, 305, 310, 318, 328, 340, 360, 390, 430, 500, 600, 750, 1000, 1400, 2000, 3000),
    )
    samples: int = 300
    test_samples: int = 360
    repetitions: int = 5
    draws: int = 2
    noise: float = 0.1


PRESETS = {
    "smoke": Recipe(features=(4, 8, 15, 25, 40, 55, 60, 65, 80, 120, 300), samples=60, repetitions=3, draws=2),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Fit all; the store is one of `landscape descent`."""
    from landscape.studies.descent import FeaturesRecipe, descent

    descent(
        FeaturesRecipe(
            capacities=recipe.features,
            samples=recipe.samples,
            test_samples=recipe.test_samples,
            repetitions=recipe.repetitions,
            draws=recipe.draws,
            noise=(recipe.noise,),
        ),
        path,
        engine=options.engine,
        workers=options.workers,
        progress=options.progress,
    )


def figure(tree: xarray.DataTree) -> StyledFigure:
    """The classical U, and double descent."""
    from landscape.figures.descent_lecture import two_panel_figure

    return two_panel_figure(tree)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.descent_captions import two_panel_caption

    return two_panel_caption(tree)


EXPERIMENT = Experiment(NAME, PRESETS, run, figure, caption)
