"""What the experiments on double descent share: their recipes are sweeps of `landscape descent`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.studies.descent import descent
from landscape.studies.descent.recipe import AUTOSAVE_SECONDS, Recipe
from landscape.sweeps.task import resolve

from .mechanism import Experiment, Options
from .sweeping import compute

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure


def descent_experiment(name: str, presets: Mapping[str, Any], figure: str, caption: str) -> Experiment:
    """An experiment made of sweeps of `landscape descent`.

    Args:
        name: Its name.
        presets: Each is the recipe of one sweep, whose store `landscape show` draws and animates, too; or a dataclass
            of such recipes, each stored at a node of its own, `<name>/<field>`.
        figure: Draws the store: `package.module:function`, imported when it is called.
        caption: Says what there is to see, likewise.
    """

    def run(recipe: Any, path: Path, options: Options) -> None:
        if isinstance(recipe, Recipe):
            how = {"engine": options.engine, "workers": options.workers, "progress": options.progress}
            descent(recipe, path, data_dir=options.data_dir, device=options.device, **how)
        else:
            compute(name, recipe, path, options, lambda: _sweeps(name, recipe, options), describe="descent")

    def draw(tree: xarray.DataTree) -> StyledFigure:
        drawn: StyledFigure = resolve(figure)(tree)
        return drawn

    def tell(tree: xarray.DataTree) -> str:
        return str(resolve(caption)(tree))

    return Experiment(name, presets, run, draw, tell)


def _sweeps(name: str, recipe: Any, options: Options) -> list[Any]:
    """The sweeps of all fields of a recipe, checked before the first is computed."""
    prepared = {
        field.name: getattr(recipe, field.name).prepare(options.data_dir, options.device) for field in fields(recipe)
    }
    return [
        replace(sweep, node=sweep.node.replace("descent", f"{name}/{part}", 1))
        for part, each in prepared.items()
        for sweep in each.saved_every(AUTOSAVE_SECONDS)
    ]
