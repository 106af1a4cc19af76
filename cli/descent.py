"""`landscape descent`: double descent, along five kinds of capacity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from . import options
from .types import Names, Numbers

if TYPE_CHECKING:
    from landscape.studies.descent.recipe import Recipe


class Counts(Numbers):
    """Whole numbers with commas between them; FIRST:LAST and FIRST:LAST:STEP stand for all of a row."""

    def __init__(self) -> None:
        super().__init__(int, "1:200, 10:100:10 or 1,2,4")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Write out each row."""
        if isinstance(value, tuple):
            return value
        parts = []
        for part in str(value).split(","):
            first, colon, rest = part.partition(":")
            last, _, step = rest.partition(":")
            row: range | None = None
            if colon and all(text.isdigit() for text in (first, last, step or "1")) and int(step or 1) > 0:
                row = range(int(first), int(last) + 1, int(step or 1))
            parts += map(str, row) if row else [part]
        return super().convert(",".join(parts), param, ctx)


def counts(name: str, what: str) -> Callable[[options.Command], options.Command]:
    """An option for the numbers along the axis."""
    return click.option(name, "capacities", type=Counts(), metavar="N,N…", help=f"{what}; FIRST:LAST:STEP for a row.")


def levels(name: str, what: str, default: str = "0") -> Callable[[options.Command], options.Command]:
    """An option for levels of noise or ridge."""
    return click.option(
        name, type=Numbers(float, "0 or 0,0.1"), default=default, show_default=True, metavar="X[,X…]", help=what
    )


def number(name: str, default: Any, what: str) -> Callable[[options.Command], options.Command]:
    """An option for a number."""
    shown = default is not None
    return click.option(
        name,
        type=float if isinstance(default, float) else int,
        default=default,
        show_default=shown,
        metavar="X" if isinstance(default, float) else "N",
        help=what,
    )


RUNNING = ("device", "threads", "engine", "workers", "overwrite", "quiet", "data_dir")
RIDGE = "Factors of the squared norm beside the sum of squares; 0 for the minimum-norm solution."
running = options.combined(options.seed, options.running)
training = options.combined(
    options.problem,
    number("--test-samples", None, "Test samples, a fixed random subset; all by default."),
    number("--repetitions", 1, "Training sets and initial weights."),
    levels("--noise", "Fractions of the training labels that are wrong.", "0.2"),
    click.option("--optimizer", metavar="NAME", help="Optimizer; adam by default."),
    options.settings("--set", "hyperparameters", "A hyperparameter of the optimizer."),
    number("--batch-size", None, "Samples in a batch."),
    click.option("--schedule", metavar="NAME", help="Learning-rate schedule: constant, cosine or piecewise."),
    click.option("--augmentation", metavar="NAME", help="none, crop, flip or crop-flip."),
    number("--epsilon", 0.1, "Training error below which a network counts as interpolating."),
    options.autosave,
)
length = options.combined(
    click.option("--epochs", type=int, metavar="N", help="Passes over the data."),
    click.option("--steps", type=int, metavar="N", help="Updates; 2000 by default."),
)


@click.group()
def descent() -> None:
    """Sweep a capacity past the interpolation threshold and store train and test risk.

    `landscape descent KIND --help` says more of each kind. A run that was killed goes on when the same command is given
    again, to the same store; `landscape show STORE --figure FILE` draws it.
    """


@descent.command()
@click.option(
    "--basis",
    "bases",
    type=Names(),
    default="legendre,chebyshev,monomial",
    show_default=True,
    metavar="NAMES",
    help="Bases: legendre, chebyshev, monomial, fourier.",
)
@counts("--functions", "Numbers of basis functions, 1:200 by default")
@number("--samples", 15, "Training points, uniform in [-1, 1].")
@number("--repetitions", 30, "Draws of the training points.")
@levels("--noise", "Standard deviations of the training targets' noise.")
@levels("--ridge", RIDGE)
@click.option(
    "--target",
    default="cosine",
    show_default=True,
    metavar="NAME",
    help="The function: cosine (2x + cos 25x), runge, sine, step or package.module:function.",
)
@number("--grid", 1000, "Points of the test grid.")
@number("--epsilon", 1e-6, "Training loss, in units of the targets' variance, that counts as interpolating.")
@running
def polynomial(**given: Any) -> None:
    """Fit a function of one variable in a growing basis, by minimum norm and by ridge regression."""
    from landscape.studies.descent import PolynomialRecipe

    _compute(given, PolynomialRecipe)


@descent.command()
@click.option(
    "--map", "features", default="fourier", show_default=True, metavar="NAME", help="fourier, relu or linear."
)
@click.option(
    "--data",
    default="digits",
    show_default=True,
    metavar="NAME",
    help="A data set with classes, or gaussian: isotropic inputs and a linear target, whose risk is known.",
)
@options.settings("--data-set", "data_settings", "A setting of the data set.")
@options.data_dir
@counts("--features", "Numbers of features, 0.05 to 10 times the samples by default")
@number("--samples", 300, "Training samples.")
@number("--test-samples", 360, "Test samples.")
@number("--repetitions", 5, "Training sets.")
@number("--draws", None, "Draws of features for each training set; 2 by default, 1 for linear ones.")
@levels("--noise", "Fractions of wrong training labels; for gaussian data standard deviations.")
@levels("--ridge", RIDGE)
@click.option("--targets", default="one-hot", show_default=True, metavar="NAME", help="one-hot or signs (±1).")
@number("--scale", 2.0, "Standard deviation of a typical input's product with a feature's weights.")
@number("--dimension", 100, "Inputs of gaussian data.")
@number("--epsilon", 0.01, "Training error that counts as interpolating.")
@running
def features(**given: Any) -> None:
    """Fit data by least squares on a growing number of random features, or of the inputs themselves."""
    from landscape.studies.descent import FeaturesRecipe

    if given["draws"] is None:
        given["draws"] = 1 if given["features"] == "linear" else 2
    _compute(given, FeaturesRecipe)


@descent.command()
@counts("--widths", "Widths, increasing; 2 to 256 by default")
@number("--samples", 200, "Training samples.")
@click.option("--reuse", is_flag=True, help="Begin each network where the narrower one ended.")
@click.option(
    "--measure",
    "measures",
    type=Names(),
    metavar="NAME[,NAME…]",
    help="Measures of sharpness at the end of each training, such as hessian_max,hessian_trace.",
)
@click.option("--complexity", is_flag=True, help="Search for the most samples that each network can be trained to fit.")
@training
@length
@running
def width(**given: Any) -> None:
    """Train networks of growing width.

    Without further options: MLPs with one hidden layer of tanh on 200 digits with 20 % label noise.
    """
    from landscape.studies.descent import WidthRecipe

    _compute(_trained(given, WidthRecipe()), WidthRecipe, "widths")


@descent.command()
@counts("--epochs", "Epochs at which to evaluate, the last of which ends the training; 1 to 200 by default")
@number("--samples", 200, "Training samples.")
@training
@running
def epoch(**given: Any) -> None:
    """Train one network and watch its risk along the epochs."""
    from landscape.studies.descent import EpochRecipe

    _compute(_trained(given, EpochRecipe()), EpochRecipe, "epochs")


@descent.command()
@counts("--samples", "Numbers of training samples; 50 to 1200 by default")
@training
@length
@running
def samples(**given: Any) -> None:
    """Train one network on more and more samples."""
    from landscape.studies.descent import SamplesRecipe

    _compute(_trained(given, SamplesRecipe()), SamplesRecipe, "sizes")


def _trained(given: dict[str, Any], default: Any) -> dict[str, Any]:
    """The options of a network's training as its recipe has them: what isn't given is the default recipe's."""
    from dataclasses import replace

    from landscape.networks.problem import Problem

    names = ("model", "data", "loss", "model_settings", "data_settings")
    asked = {name: value for name in names if (value := given.pop(name)) not in (None, {})}
    usual = {name: getattr(default.problem, name) for name in names}
    if "model" in asked:
        usual["model_settings"] = {}
    changes: dict[str, Any] = {}
    for name in ("optimizer", "batch_size", "schedule", "augmentation"):
        if (value := given.pop(name)) is not None:
            changes[name] = value
    hyperparameters = given.pop("hyperparameters")
    if "optimizer" in changes:
        changes["hyperparameters"] = hyperparameters
    elif hyperparameters:
        changes["hyperparameters"] = {**default.training.hyperparameters, **hyperparameters}
    epochs, steps = given.pop("epochs", None), given.pop("steps", None)
    if epochs is not None or steps is not None:
        changes |= {"epochs": epochs, "steps": steps}
    settings = {**usual["model_settings"], **asked.pop("model_settings", {})}
    problem = Problem(**{**usual, **asked, "model_settings": settings})
    return {**given, "problem": problem, "training": replace(default.training, **changes)}


def _compute(given: dict[str, Any], kind: type[Recipe], axis: str = "capacities") -> None:
    """Make the recipe of what was given, compute it and print a summary."""
    from landscape.studies.descent import descent as compute

    out, as_json, capacities = given.pop("out"), given.pop("as_json"), given.pop("capacities")
    where = {name: given.pop(name) for name in RUNNING if name in given}
    autosave = {"autosave_seconds": given.pop("autosave")} if "autosave" in given else {}
    settings = {name: value for name, value in given.items() if value is not None}
    recipe = kind(**settings, **({} if capacities is None else {axis: capacities}))
    options.tell(compute(recipe, out, **autosave, **options.run_options(where)), out, as_json)
