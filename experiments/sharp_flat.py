r"""A sharp and a wide minimum: one network trained by SGD and by SAM from the same start, and how sharp each is.

Both methods see the same batches from the same initial weights, with the same learning rate, schedule and weight decay;
SAM's gradient is taken at the worst point within :math:`\rho` and costs two of SGD's. Around each minimum the loss is
drawn on a plane of filter-normalised random directions (the same draws for all networks), and along lines: one of these
directions, and the Hessian's top eigenvector. Every measure of sharpness is taken on a fixed subset of the training
data.

Curvature as such can be made small by scaling weights, which changes no prediction where BatchNorm follows. So the
measures are told apart: raw ones, in units of distance in weight space, and those that count in units of the weights
(`landscape.figures.widths` lists both). Whether SAM's minimum is wider is said for each kind, from the ratio SAM/SGD of
each seed and a paired interval over seeds.

References:
    Foret et al., "Sharpness-aware minimization", arXiv 2010.01412, figure 1; Li et al., "Visualizing the loss landscape
    of neural nets", arXiv 1712.09913; Dinh et al., "Sharp minima can generalize for deep nets", arXiv 1703.04933.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.studies.sharpness import SharpnessRecipe, sharpness
from landscape.studies.surface import SurfaceRecipe, surface

from .mechanism import Experiment, Options
from .training import train_seeds

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NODE = "sharp_flat"
METHODS = ("sgd", "sam")
SUBSET = "landscape.experiments.subsets:subset"
QUANTITIES = ("loss", "error")
RADII = (0.1, 0.5, 5.0)
"""For worst cases in distance in weight space, for worst cases in units of the weights, and for mean rises."""
MEASURES = (
    "sam_sharpness",
    "pgd_sharpness",
    "keskar_sharpness",
    "adaptive_sharpness",
    "adaptive_average_sharpness",
    "average_sharpness",
    "hessian_max",
    "hessian_top",
    "hessian_trace",
    "hessian_frobenius",
    "hessian_density",
    "ggn_trace",
    "fisher_trace",
    "pac_bayes_sigma",
    "relative_flatness",
    "fisher_rao_norm",
    "gradient_noise_scale",
    "sam_bound",
)
"""Named, so that a measure added later doesn't change recipes."""
BOOKKEEPING = ("evaluations", "reached")
"""Variables of a certified surface that would make the store large; its attributes say the totals."""


@dataclass(frozen=True)
class Recipe:
    """Train one network in two ways from several seeds, and look at the minima.

    Args:
        problem: Network and data.
        sgd: How the first network of each pair is trained; its seed is replaced.
        sam: How the second one is.
        seeds: A pair of networks each, of the same initial weights and batches.
        surface: The plane around each network, on the training data.
        line: The line around each, on all splits.
        eigenvector: The line along the top eigenvector of each one's Hessian.
        sharpness: The measures, on the training data.
    """

    problem: Problem
    sgd: TrainingRecipe
    sam: TrainingRecipe
    seeds: tuple[int, ...] = (0, 1, 2)
    surface: SurfaceRecipe = field(default_factory=lambda: SurfaceRecipe(axes=2, splits=("train",)))
    line: SurfaceRecipe = field(default_factory=lambda: SurfaceRecipe(axes=1, size=(65,)))
    eigenvector: SurfaceRecipe = field(default_factory=lambda: SurfaceRecipe("hessian", axes=1, size=(65,)))
    sharpness: SharpnessRecipe = field(default_factory=lambda: SharpnessRecipe(MEASURES, RADII))


def both(sgd: Mapping[str, Any], rho: float, **settings: Any) -> dict[str, TrainingRecipe]:
    """The recipes of SGD and of SAM around it, alike in all else."""
    around = {"base": "sgd", "rho": rho, **{f"base.{name}": value for name, value in sgd.items()}}
    return {"sgd": TrainingRecipe("sgd", sgd, **settings), "sam": TrainingRecipe("sam", around, **settings)}


CIFAR = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
PRESETS = {
    "smoke": Recipe(
        Problem("mlp", "digits", model_settings={"hidden": (12,)}),
        **both({"lr": 0.1, "momentum": 0.9}, 0.2, epochs=6),
        seeds=(0, 1),
        surface=SurfaceRecipe(axes=2, size=(9,), splits=("train",)),
        line=SurfaceRecipe(axes=1, size=(17,)),
        eigenvector=SurfaceRecipe("hessian", axes=1, size=(17,), samples=200),
        sharpness=SharpnessRecipe(
            MEASURES,
            RADII,
            samples=200,
            settings={
                "steps": 2,
                "relative_error": 0.2,
                "pairs": 4,
                "draws": 4,
                "hessian_density.probes": 2,
                "hessian_density.steps": 10,
                "hessian_density.points": 200,
            },
        ),
    ),
    # Chosen on 5,000 further training images, by networks of another seed. SGD with a learning rate of 0.02, 0.05 and
    # 0.1 errs on 12.6, 13.0 and 12.8 % of them, SAM (rho 0.2) with 0.02 and 0.05 on 12.4 and 12.4 %, each ± 0.5 %: that
    # tells no rates apart, so both take the least with which SGD fits the training images. SAM with rho 0.1: 12.2 %.
    "cpu": Recipe(
        Problem("convnet", SUBSET, data_settings={"data": "fashion_mnist", "samples": 10_000}),
        **both({"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}, 0.1, epochs=20, schedule="cosine"),
        surface=SurfaceRecipe(axes=2, size=(33,), splits=("train",)),
        eigenvector=SurfaceRecipe("hessian", axes=1, size=(33,), samples=1000),
        sharpness=SharpnessRecipe(
            MEASURES,
            RADII,
            samples=1000,
            batchnorm="checkpoint",
            settings={
                "steps": 5,
                "restarts": 0,
                "pairs": 10,
                "relative_error": 0.05,
                "max_products": 100,
                "hessian_max.max_products": 1000,
                "hessian_top.max_products": 1000,
                "hessian_density.probes": 3,
                "hessian_density.steps": 30,
            },
        ),
    ),
    "gpu": Recipe(
        Problem("resnet56", "cifar10"),
        **both(CIFAR, 0.05, epochs=200, schedule="cosine", augmentation="crop-flip", precision="bf16"),
        sharpness=SharpnessRecipe(MEASURES, RADII, samples=2000),
        eigenvector=SurfaceRecipe("hessian", axes=1, size=(65,), samples=2000),
    ),
    "gpu_no_skips": Recipe(
        Problem("resnet56", "cifar10", model_settings={"skip": False}),
        **both(CIFAR, 0.05, epochs=200, schedule="cosine", augmentation="crop-flip", precision="bf16"),
        sharpness=SharpnessRecipe(MEASURES, RADII, samples=2000),
        eigenvector=SurfaceRecipe("hessian", axes=1, size=(65,), samples=2000),
    ),
}


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Train the networks beside the store, study them, and put everything into it."""
    files = [
        file
        for method in METHODS
        for file in train_seeds(recipe.problem, getattr(recipe, method), recipe.seeds, _beside(path, method), options)
    ]
    studies: dict[str, Any] = {"surface": surface, "line": surface, "eigenvector": surface, "sharpness": sharpness}
    found = {
        name: study(
            files,
            _beside(path, name),
            getattr(recipe, name),
            data_dir=options.data_dir,
            device=options.device,
            engine=options.engine,
            workers=options.workers,
            progress=options.progress,
        )
        for name, study in studies.items()
    }
    _collect(recipe, path, files, found, options)


def _beside(path: Path, part: str) -> Path:
    """A store beside the experiment's own."""
    return path.with_name(f"{path.stem}-{part}.zarr")


def _collect(
    recipe: Recipe, path: Path, files: Sequence[Path], found: Mapping[str, xarray.DataTree], options: Options
) -> None:
    """Put what the studies found into one store, in which a network is a method and a seed."""
    from landscape.studies.networks import gather
    from landscape.sweeps import store

    parts = {name: tree.attrs["recipe_hash"] for name, tree in found.items()}
    identity = {"experiment": NODE, "recipe": recipe, "parts": parts}
    resumed = store.create(path, identity, kind="experiment", attrs={"device": options.device})
    if resumed and store.attributes(path)["complete"]:
        return
    thetas = gather(files, data_dir=options.data_dir).thetas().double()
    own = {f"checkpoint_{name}": name for name in QUANTITIES}
    networks = found["line"]["surface"].to_dataset()[list(own)].rename(own)
    networks["weight_norm"] = ("checkpoint", thetas.norm(dim=1).numpy(), {"long_name": "length of theta"})
    _keep(path, NODE, networks, recipe.seeds, {"num_parameters": thetas.shape[1]})
    for name, tree in found.items():
        data = tree["sharpness" if name == "sharpness" else "surface"].to_dataset()
        data = data.drop_vars([*own, *(f"{one}_stderr" for one in own), *BOOKKEEPING], errors="ignore")
        if name in ("surface", "sharpness"):
            data = data.sel(split="train", drop=True)
        _keep(path, f"{NODE}/{name}", data, recipe.seeds, data.attrs)
    store.finish(path)


def _keep(path: Path, node: str, data: xarray.Dataset, seeds: Sequence[int], attrs: Mapping[str, Any]) -> None:
    """Write a node, its checkpoints sorted by method and seed."""
    from landscape.sweeps import store
    from landscape.sweeps.schema import Variable

    runs = {"method": list(METHODS), "seed": np.array(seeds)}
    shape = [len(labels) for labels in runs.values()]
    coords = {str(dim): data[dim].values.tolist() if dim in data.coords else size for dim, size in data.sizes.items()}
    del coords["checkpoint"]
    variables, values = {}, {}
    for name, variable in data.data_vars.items():
        ordered = variable.transpose("checkpoint", ...)
        values[str(name)] = ordered.values.reshape(*shape, *ordered.shape[1:])
        dims = (*runs, *map(str, ordered.dims[1:]))
        variables[str(name)] = Variable(dims, ordered.dtype.str, ordered.attrs)
    store.add_node(path, node, {**runs, **coords}, variables, attrs)
    for name, value in values.items():
        store.write(path, node, name, value)


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Both surfaces, lines through the minima, spectra, and the ratio SAM/SGD of every measure."""
    from landscape.figures.sharp_flat import sharp_flat_figure

    return sharp_flat_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.sharp_flat_caption import sharp_flat_caption

    return sharp_flat_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
