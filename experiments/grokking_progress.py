"""What happens inside networks while they grok: Nanda et al.'s progress measures, the path, the learning coefficient.

A quadratic network and a one-layer transformer on addition modulo a prime, a column each. From top to bottom: the share
of each frequency in the embedding's power; train, test, restricted and excluded loss; the local learning coefficient
with its error over chains; and the path of the weights in its two principal axes.

References:
    Nanda, Chan, Lieberum, Smith & Steinhardt, "Progress measures for grokking via mechanistic interpretability", arXiv
    2301.05217, figures 5 to 7; Lau et al., "The local learning coefficient", arXiv 2308.12108.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .collecting import Kept, collect
from .grokking_runs import PROGRESS, Attention, Fast
from .mechanism import Experiment, Options

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure
    from landscape.studies.grok import GrokRecipe
    from landscape.studies.study import RunningOptions

NODE = "grokking_progress"
LLC = "local_learning_coefficient"
KEPT = ("accuracy", "loss", "embedding_power", "strongest_share", "sketch", LLC, f"{LLC}_stderr", f"{LLC}_r_hat")


@dataclass(frozen=True)
class Inside:
    """How a network is watched, at steps that are even on a log scale.

    Args:
        seeds: Number of runs, each with a split of its own.
        weight_decay: Of AdamW.
        steps: Updates.
        per_decade: Records for each tenfold number of updates.
        measure_every: Records between learning coefficients.
        chains: Langevin chains of one.
        draws: Steps of a chain that count; half as many before them don't.
        sketch: Dimensions of the sketch of the path.
    """

    seeds: int
    steps: int
    weight_decay: float = 1.0
    per_decade: int = 30
    measure_every: int = 6
    chains: int = 4
    draws: int = 300
    sketch: int = 64

    def watch(self, recipe: GrokRecipe) -> GrokRecipe:
        """A study of the same network that is watched so."""
        return replace(
            recipe,
            hyperparameters={**recipe.hyperparameters, "weight_decay": self.weight_decay},
            seeds=tuple(range(self.seeds)),
            steps=self.steps,
            every=None,
            per_decade=self.per_decade,
            hold=0,
            measures=(LLC,),
            measure_settings={"chains": self.chains, "draws": self.draws, "burn_in": self.draws // 2},
            rho=None,
            measure_every=self.measure_every,
            sketch=self.sketch,
            checkpoints=(),
        )


@dataclass(frozen=True)
class Recipe:
    """Both networks and how they are watched.

    Args:
        fast: The quadratic network.
        fast_inside: How it is watched.
        attention: The transformer.
        attention_inside: How it is watched.
    """

    fast: Fast = field(default_factory=Fast)
    fast_inside: Inside = field(default_factory=lambda: Inside(8, 2000))
    attention: Attention = field(default_factory=Attention)
    attention_inside: Inside = field(
        default_factory=lambda: Inside(1, 3500, per_decade=15, measure_every=5, chains=3, draws=80)
    )


PRESETS = {
    "smoke": Recipe(
        Fast(fraction=0.75),
        Inside(2, 300, weight_decay=3.0, per_decade=10, chains=2, draws=10, sketch=8),
        Attention(modulus=11, width=16, fraction=0.7, batch_size=64, lr=0.01),
        Inside(1, 200, per_decade=10, chains=2, draws=10, sketch=8),
    ),
    "cpu": Recipe(),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train the networks, and collect."""
    collect(NODE, recipe, path, options, partial(studies, recipe))


def studies(recipe: Recipe, parts: Path, running: RunningOptions) -> dict[str, Kept]:
    """What is kept of both networks' runs."""
    from landscape.studies.grok import grok

    kept: dict[str, Kept] = {}
    for network, runs, inside in (
        ("quadratic", recipe.fast, recipe.fast_inside),
        ("transformer", recipe.attention, recipe.attention_inside),
    ):
        study = inside.watch(next(iter(runs.recipes().values())))
        found = grok(study, parts / f"{network}.zarr", **running)["grok"].to_dataset()
        found.attrs["weight_decay"] = inside.weight_decay
        kept[network] = (found, (*KEPT, *PROGRESS, "collapsed", "status"))
    return kept


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Spectrum, losses, learning coefficient and path of each network."""
    from landscape.figures.grokking_progress import inside_figure

    return inside_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.grokking_progress import inside_caption

    return inside_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
