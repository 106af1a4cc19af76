"""From a recipe and a point of its sweep to one run: which setting of what is swept, and what is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from landscape.errors import RequestError, unknown
from landscape.networks import datasets, models
from landscape.networks.algorithmic import ALGORITHMIC
from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.optimizers.registry import OPTIMIZERS, resolve_hyperparameters
from landscape.studies.grok.recipe import GrokRecipe, Value

PROBLEM = ("model", "data", "loss", "label_noise")
TRAINING = ("optimizer", "batch_size", "schedule", "warmup", "precision")
DEFAULTS: dict[str, dict[str, Any]] = {
    "modular": {"modulus": 31},
    "quadratic": {"init_scale": 3.0},
    "adamw": {"lr": 1e-2, "beta2": 0.98, "weight_decay": 1.0},
}
"""What the study takes unless it is told otherwise: the recipe that groks within seconds."""
REGISTRIES: dict[str, Collection[str]] = {
    "model": models.MODELS,
    "data": datasets.BUILT_IN,
    "optimizer": OPTIMIZERS,
}
FULL_BATCH = 2**31
"""More samples than there are: all of them."""


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        problem: Network, data and loss.
        training: How it is trained.
    """

    problem: Problem
    training: TrainingRecipe


def make_run(recipe: GrokRecipe, seed: int, values: Mapping[str, Value]) -> Run:
    """The run of a seed at a point of the sweep.

    Args:
        recipe: The whole study's.
        seed: Decides initial weights, batches and, unless that is set, the split.
        values: A value of each swept setting.

    Raises:
        RequestError: If a setting is unknown or ambiguous, or a value is wrong.
    """
    swept: dict[str, dict[str, Any]] = {"problem": {}, "training": {}, "model": {}, "data": {}, "optimizer": {}}
    for name, value in values.items():
        family, key = place(recipe, name)
        swept[family][key] = value
    problem = replace(recipe.problem, **swept["problem"])
    optimizer = str(swept["training"].get("optimizer", recipe.optimizer))
    model_settings = _chosen(recipe, "model", problem.model, swept["model"])
    data_settings = _chosen(recipe, "data", problem.data, swept["data"])
    known = _known("data", problem.data)
    if "seed" in known:
        data_settings.setdefault("seed", seed)
    if problem.data in ALGORITHMIC and problem.model in models.MODELS and models.MODELS[problem.model].symbols:
        data_settings.setdefault("encoding", "symbols")
    training: dict[str, Any] = {
        "optimizer": optimizer,
        "batch_size": recipe.batch_size,
        "schedule": recipe.schedule,
        "warmup": recipe.warmup,
        "precision": recipe.precision,
        **swept["training"],
    }
    if training["batch_size"] is None:
        training["batch_size"] = FULL_BATCH
    hyperparameters = _chosen(recipe, "optimizer", optimizer, swept["optimizer"])
    return Run(
        replace(problem, model_settings=model_settings, data_settings=data_settings, label_noise_seed=seed),
        TrainingRecipe(**training, hyperparameters=hyperparameters, epochs=None, steps=recipe.steps, seed=seed),
    )


def place(recipe: GrokRecipe, name: str) -> tuple[str, str]:
    """Where a swept setting belongs: `problem`, `training`, `model`, `data` or `optimizer`, and its name there.

    Raises:
        RequestError: If it is unknown, or belongs to several.
    """
    if name == "seed":
        raise RequestError("'seed' can't be swept: --seeds N says how many there are, --seed N which is the first")
    family, dot, key = name.partition(".")
    if dot and family in ("model", "data", "optimizer"):
        return family, key
    bare = name.removeprefix("training.")
    if bare in PROBLEM:
        return "problem", bare
    if bare in TRAINING:
        return "training", bare
    known = {
        family: {key for one in alternatives(recipe, family) for key in _known(family, one)}
        for family in ("model", "data", "optimizer")
    }
    owners = [family for family, names in known.items() if name in names]
    if len(owners) > 1:
        raise RequestError(
            f"'{name}' is a setting of {' and '.join(owners)}: sweep {' or '.join(f'{one}.{name}' for one in owners)}"
        )
    if not owners:
        raise unknown("setting to sweep", name, [*PROBLEM, *TRAINING, *sorted(set().union(*known.values()))])
    return owners[0], name


def set_as(recipe: GrokRecipe, family: str, key: str) -> str | None:
    """The name by which a setting was given its one value, for all or for one model, data set or optimizer."""
    for name in _given(recipe, family):
        owner, dot, setting = name.partition(".")
        if key == (setting if dot and owner in REGISTRIES[family] else name):
            return name
    return None


def alternatives(recipe: GrokRecipe, family: str) -> list[str]:
    """The models, data sets or optimizers that the study has runs of."""
    own = {"model": recipe.problem.model, "data": recipe.problem.data, "optimizer": recipe.optimizer}[family]
    return [str(value) for value in recipe.sweep.get(family, recipe.sweep.get(f"training.{family}", (own,)))]


def _known(family: str, name: str) -> Collection[str]:
    """The settings of a model, data set or optimizer."""
    if family == "optimizer":
        return {*resolve_hyperparameters(name, {}), "lr"}
    resolve: Callable[[str], Mapping[str, Any]] = {
        "model": models.resolve_settings,
        "data": datasets.resolve_settings,
    }[family]
    return resolve(name)


def _given(recipe: GrokRecipe, family: str) -> Mapping[str, Any]:
    """The settings that were given of the models, data sets or optimizers; of others there are none."""
    return {
        "model": recipe.problem.model_settings,
        "data": recipe.problem.data_settings,
        "optimizer": recipe.hyperparameters,
    }.get(family, {})


def _chosen(recipe: GrokRecipe, family: str, name: str, swept: Mapping[str, Value]) -> dict[str, Any]:
    """The settings of one model, data set or optimizer among those of the study.

    What was given as `NAME.key` is for that one alone; where several are swept, each takes of the others what it has.
    """
    given = _given(recipe, family)
    registry = REGISTRIES[family]
    names = alternatives(recipe, family)
    shared, own = {}, {}
    for key, value in given.items():
        owner, dot, setting = key.partition(".")
        if dot and owner in registry:
            if owner not in names:
                raise RequestError(f"setting '{key}': no run uses '{owner}', only {', '.join(names)}")
            if owner == name:
                own[setting] = value
        elif len(names) == 1 or key.startswith("base.") or key in _known(family, name):
            shared[key] = value
        elif not any(key in _known(family, other) for other in names):
            raise unknown(
                f"setting of {family} {' or '.join(names)}", key, sorted({k for n in names for k in _known(family, n)})
            )
    found = {**DEFAULTS.get(name, {}), **shared, **own, **swept}
    base = DEFAULTS.get(str(found.get("base")), {})
    return {**{f"base.{key}": value for key, value in base.items()}, **found}
