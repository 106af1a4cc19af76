"""`sharpness`: take measures at networks, and store them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from landscape.studies.networks import Source
from landscape.studies.opening import CheckpointStudy, Opened, Options, open_checkpoints
from landscape.studies.sharpness.density import write_density
from landscape.studies.sharpness.evaluation import DENSITY, check_measures, measure_variables, own_coords
from landscape.studies.sharpness.recipe import SharpnessRecipe
from landscape.sweeps.schema import Sweep

if TYPE_CHECKING:
    import xarray


def sharpness(
    checkpoints: Sequence[Source] | Source,
    out: Path | str,
    recipe: SharpnessRecipe | None = None,
    **options: Unpack[Options],
) -> xarray.DataTree:
    """Measure how sharp minima are, and store it.

    Args:
        checkpoints: Files, points of stored curves or modules, of one architecture.
        out: The store to write. One of the same recipe is resumed.
        recipe: What to compute.
        **options: `model`, `data` and `loss` of the checkpoints, `device`, `engine` and so on: see
            `landscape.studies.opening.Options`.

    Returns:
        The store, as `landscape.open` gives it.

    Raises:
        RequestError: If the request is wrong; nothing has been written then.
    """
    recipe = recipe or SharpnessRecipe()
    return SharpnessStudy(open_checkpoints(checkpoints, recipe, options), recipe).compute(out)


class SharpnessStudy(CheckpointStudy):
    """The steps of `sharpness`.

    Args:
        opened: The checkpoints, and what is measured.
        recipe: What to compute.
    """

    kind = "sharpness"

    def __init__(self, opened: Opened, recipe: SharpnessRecipe) -> None:
        super().__init__(opened)
        self.settings, self.measures = recipe, recipe.resolved()

    def recipe(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {**super().recipe(), **self.settings.recipe()}

    def check(self) -> None:
        """Try everything on a few samples, so that a wrong request ends before anything is written."""
        super().check()
        check_measures(self.measures, self.ends.layout.num_parameters)

    def run(self, path: Path) -> None:
        """Compute what the store lacks."""
        self.running.run(path, [self.sweep()], "measure")
        if DENSITY in self.measures:
            write_density(
                path, self.kind, self.coords(), self.measures, self.network.loss, self.ends.layout.num_parameters
            )

    def coords(self) -> dict[str, Any]:
        """Labels of all dimensions that are known before anything is measured."""
        around = {"checkpoint": list(self.ends.names), "split": list(self.splits)}
        return {**around, **own_coords(self.measures, self.ends.layout.num_parameters)}

    def sweep(self) -> Sweep:
        """All measures at each checkpoint on each split."""
        over = ("checkpoint", "split")
        return Sweep(
            node=self.kind,
            coords=self.coords(),
            over=over,
            variables=measure_variables(self.measures, over, self.network.loss),
            function="landscape.studies.sharpness.evaluation:sharpness_evaluator",
            arguments={
                "networks": self.networks,
                "labels": list(self.ends.names),
                "measures": self.measures,
                "seed": self.settings.seed,
            },
            attrs={"batches": "all samples at once", "batchnorm": self.network.batchnorm},
        )
