"""Belkin et al.'s two panels, measured: the classical U of the risk, and its second descent beyond the threshold.

Random Fourier features on handwritten digits with wrong labels, fitted by minimum-norm least squares: the left panel
ends before the threshold, the right one goes on to ten times as many features as samples.

References:
    M. Belkin et al., Reconciling modern machine learning practice and the bias-variance trade-off, arXiv 1812.11118.
"""

from __future__ import annotations

from landscape.studies.descent import FeaturesRecipe

from .descent_runs import descent_experiment

FEATURES = (
    *(4, 6, 9, 13, 19, 28, 40, 56, 75, 95, 115, 135, 155, 175, 195, 215, 235, 250, 262, 273, 282, 290, 295, 298),
    *(300, 302, 305, 310, 318, 328, 340, 360, 390, 430, 500, 600, 750, 1000, 1400, 2000, 3000),
)
PRESETS = {
    "smoke": FeaturesRecipe(
        capacities=(4, 8, 15, 25, 40, 55, 60, 65, 80, 120, 300), samples=60, repetitions=3, noise=(0.1,)
    ),
    "cpu": FeaturesRecipe(capacities=FEATURES, samples=300, repetitions=5, noise=(0.1,)),
}
EXPERIMENT = descent_experiment(
    "double_descent",
    PRESETS,
    figure="landscape.figures.descent_lecture:two_panel_figure",
    caption="landscape.figures.descent_captions:two_panel_caption",
)
