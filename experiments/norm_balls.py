r"""Unit balls of the norms that the methods use, with a gradient and the direction of steepest descent in each.

The oracle :math:`\mathrm{LMO}(g) = \operatorname{argmin}_{\|x\| = 1} \langle g, x \rangle` is the point of the ball
that lies furthest down the gradient: there a line :math:`\langle g, x \rangle = -\|g\|_*` touches the ball. Above,
vectors in p-norms; below, matrices: the nuclear, Frobenius and spectral norm of a matrix are the 1-, 2- and ∞-norm of
its singular values, and the oracle keeps the singular vectors of the gradient. Diagonal matrices
:math:`\operatorname{diag}(s_1, s_2)` show all of it, for their singular values are :math:`|s_1|` and :math:`|s_2|`.
Everything is evaluated by `landscape.linalg.norms`, as the optimizers do.

References:
    Bernstein & Newhouse, "Old optimizer, new norm: an anthology", arXiv 2409.20325.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray
    from torch import Tensor

    from landscape.figures.style import StyledFigure
    from landscape.linalg.norms import Norm

NODE = "norm_balls"


@dataclass(frozen=True)
class Recipe:
    """The balls of some norms.

    Args:
        gradient: The gradient of two numbers, and the diagonal of the 2 × 2 gradient.
        exponents: p of each vector norm; "inf" is the largest absolute value.
        matrix_norms: Names of the matrix norms.
        points: Directions in which a ball's boundary is computed.
        spectrum: Singular values of the larger gradient whose oracles are compared, shape `(r,)`.
        seed: Of its singular vectors.
    """

    gradient: tuple[float, ...] = (0.8, 0.4)
    exponents: tuple[str, ...] = ("1", "1.5", "2", "3", "inf")
    matrix_norms: tuple[str, ...] = ("nuclear", "frobenius", "spectral")
    points: int = 721
    spectrum: tuple[float, ...] = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
    seed: int = 0


PRESETS = {"smoke": Recipe(points=73), "cpu": Recipe()}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Evaluate boundaries, oracles and dual norms."""
    from landscape.sweeps import store
    from landscape.sweeps.schema import Sweep, Variable
    from landscape.sweeps.sweep import run as run_sweeps

    resumed = store.create(path, {"experiment": NODE, "recipe": recipe}, kind="experiment")
    if resumed and store.attributes(path)["complete"]:
        return
    angle = np.linspace(0, 2 * np.pi, recipe.points)
    ball = {
        "boundary": Variable(("norm", "angle", "axis"), attrs={"long_name": "unit vector of the norm"}),
        "lmo": Variable(("norm", "axis"), attrs={"long_name": "LMO of the gradient"}),
        "dual_norm": Variable(("norm",), attrs={"long_name": "dual norm of the gradient"}),
        "turned": Variable(("norm", "angle"), attrs={"long_name": "direction of −LMO", "units": "rad"}),
    }
    coords: dict[str, Any] = {"angle": angle, "axis": 2, "gradient": ("axis", np.array(recipe.gradient))}
    matrix = {**ball, "values": Variable(("norm", "singular"), attrs={"long_name": "singular values of the LMO"})}
    del matrix["turned"]
    spectrum = {"singular": len(recipe.spectrum), "spectrum": ("singular", np.array(recipe.spectrum))}
    sweeps = [
        Sweep(
            node=f"{NODE}/vector",
            coords={**coords, "norm": list(recipe.exponents)},
            over=("norm",),
            variables=ball,
            function=f"{__name__}:vector_evaluator",
            arguments={"recipe": recipe},
            block={"norm": len(recipe.exponents)},
        ),
        Sweep(
            node=f"{NODE}/matrix",
            coords={**coords, **spectrum, "norm": list(recipe.matrix_norms)},
            over=("norm",),
            variables=matrix,
            function=f"{__name__}:matrix_evaluator",
            arguments={"recipe": recipe},
            block={"norm": len(recipe.matrix_norms)},
        ),
    ]
    run_sweeps(path, sweeps, engine="serial", progress=options.progress, describe="balls")  # done at once
    store.finish(path)


Evaluate = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


def vector_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Boundary and oracle in p-norms: the factory of a sweep."""
    import torch

    from landscape.linalg.norms import Lp

    gradient = torch.tensor(arguments["recipe"].gradient, dtype=torch.float64)

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        norms = [Lp(float(name)) for name in coordinates["norm"]]
        unit = _circle(coordinates["angle"])
        found = _ball(norms, unit, gradient)
        steps = [torch.stack([-norm.lmo(one) for one in unit]) for norm in norms]
        found["turned"] = np.stack([np.arctan2(step[:, 1].numpy(), step[:, 0].numpy()) for step in steps])
        return found

    return evaluate


def matrix_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Boundary and oracle of diagonal matrices, and the singular values of a larger oracle: the factory of a sweep."""
    import torch

    from landscape.linalg.norms import make_norm

    recipe: Recipe = arguments["recipe"]
    gradient = torch.tensor(recipe.gradient, dtype=torch.float64)
    generator = torch.Generator().manual_seed(recipe.seed)
    rank = len(recipe.spectrum)
    left, right = (
        torch.linalg.qr(torch.randn(side, rank, generator=generator, dtype=torch.float64))[0]
        for side in (rank + 2, rank)
    )
    larger = left @ torch.diag(torch.tensor(recipe.spectrum, dtype=torch.float64)) @ right.T

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        norms = [make_norm(str(name)) for name in coordinates["norm"]]
        found = _ball(norms, _circle(coordinates["angle"]).diag_embed(), gradient.diag_embed())
        for name in ("boundary", "lmo"):
            found[name] = np.diagonal(found[name], axis1=-2, axis2=-1)
        found["values"] = np.stack([torch.linalg.svdvals(norm.lmo(larger)).numpy() for norm in norms])
        return found

    return evaluate


def _circle(angle: np.ndarray) -> Tensor:
    """Unit vectors, shape `(angle, 2)`, exact at multiples of a quarter turn."""
    import torch

    unit = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return torch.from_numpy(np.where(np.abs(unit) < 1e-12, 0.0, unit))


def _ball(norms: list[Norm], unit: Tensor, gradient: Tensor) -> dict[str, np.ndarray]:
    """Boundary `(norm, angle, *)`, oracle `(norm, *)` and dual norm `(norm,)` of a gradient."""
    import torch

    boundary = [torch.stack([one / norm.norm(one) for one in unit]) for norm in norms]
    return {
        "boundary": torch.stack(boundary).numpy(),
        "lmo": torch.stack([norm.lmo(gradient) for norm in norms]).numpy(),
        "dual_norm": torch.stack([norm.dual_norm(gradient) for norm in norms]).numpy(),
    }


def figure(tree: xarray.DataTree) -> StyledFigure:
    """The balls of vectors above, those of matrices and what becomes of a spectrum below."""
    from landscape.figures.norm_balls import norm_balls_figure

    return norm_balls_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    vector, matrix = (tree[f"{NODE}/{name}"].to_dataset().load() for name in ("vector", "matrix"))
    gradient = ", ".join(f"{value:g}" for value in vector["gradient"].values)
    duals = "; ".join(f"p = {p.replace('inf', '∞')}: {d:.3f}" for p, d in _pairs(vector))
    spectral = matrix["values"].sel(norm="spectral").values
    larger = matrix.sizes["singular"]
    return (
        f"Unit balls in the plane with the gradient g = ({gradient}) (orange) and LMO(g) (blue), the point of the ball "
        "that lies furthest down g; dotted: the line ⟨g, x⟩ = −‖g‖_* that touches the ball there. Dual norms ‖g‖_* are "
        f"{duals}. p = 1 moves one coordinate, p = ∞ both by as much. Below: diagonal 2 × 2 matrices, whose singular "
        "values are |s₁| and |s₂|: their nuclear, Frobenius and spectral norms are 1-, 2- and ∞-norms of these. Right: "
        "direction of the step, −LMO, for every direction of the gradient, and singular values of the LMO of an "
        f"{larger + 2} × {larger} gradient: the nuclear norm keeps only the first, the Frobenius norm all in "
        f"proportion, and the spectral norm (Muon's) makes all equal ({spectral.min():.6f} to {spectral.max():.6f})."
    )


def _pairs(data: xarray.Dataset) -> list[tuple[str, float]]:
    """Name and dual norm of each norm."""
    return [(str(name), float(dual)) for name, dual in zip(data["norm"].values, data["dual_norm"].values, strict=True)]


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
