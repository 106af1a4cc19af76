"""Figures of the lecture and of papers: one file each, with a frozen recipe, `run` and `figure`.

Light: an experiment's file is imported when it is asked for.
"""

from __future__ import annotations

EXPERIMENTS: dict[str, str] = {
    "connect": "Independent optima, and Bézier and polyline curves between them (Garipov et al. 2018, figure 1).",
    "curve_optimizers": "Which optimizer, learning rate and choice of t lower the barrier fastest.",
    "noise_ball": "SGD with a constant step ends in a noise ball: paths, radius beside theory, floors by batch.",
    "rates": "Steps to epsilon of GD, SGD, momentum and quasi-Newton methods, beside the theory's rates.",
    "norm_balls": "Unit balls of vector and matrix norms, with a gradient and its steepest direction in each.",
    "speedrun": "A small GPT on real text by every optimizer: steps and seconds to a target loss, rates tuned.",
    "adam_divergence": "Reddi et al.'s convex problems, Adam's cycle on a parabola, AdaGrad on sparse features.",
    "softmax_regression": "Muon against AdamW and all others on softmax regression, each with its best learning rate.",
    "sharp_flat": "A network trained by SGD and by SAM: surfaces, spectra, every measure, and which minimum is wider.",
    "double_descent": "The classical U-shaped risk, and beyond the interpolation threshold the second descent.",
    "polynomial_descent": "Minimum-norm fits by a rising number of polynomials, with the risk by basis and ridge.",
    "fashion_descent": "Random features and network width on Fashion-MNIST, with and without wrong labels and ridge.",
    "training_descent": "Epoch-wise and sample-wise double descent of ConvNets with wrong labels (Nakkiran et al.).",
    "muon_spectrum": "Singular values of a gradient and of Muon's update, shares of the update, condition numbers.",
    "grokking": "Grokking with sharpness along the run: a slow drift to a wider minimum, or not (Power et al. 2022).",
    "grokking_progress": "Inside networks that grok: spectra, restricted and excluded loss, learning coefficients.",
    "grokking_sweeps": "Steps to grok by training fraction and weight decay, and by optimizer with decay and without.",
}
"""Name of each experiment's file, with what its figure shows."""
