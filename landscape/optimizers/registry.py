"""Optimizers by name, with their hyperparameters checked.

An entry's `build` is a function of a model (or tensors, or parameter groups) whose keyword-only arguments are the
hyperparameters. It takes the tensors by `parameters.groups_of` or `parameters_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from landscape.errors import RequestError, unknown
from landscape.optimizers import wrapped
from landscape.optimizers.amsgrad import amsgrad
from landscape.optimizers.base import OwnOptimizer
from landscape.optimizers.grokfast import grokfast
from landscape.optimizers.muon import muon
from landscape.optimizers.orthograd import orthograd
from landscape.optimizers.parameters import Parameters, Placeholder, parameters_of
from landscape.optimizers.rmsprop import rmsprop
from landscape.optimizers.sam import asam, sam
from landscape.optimizers.shampoo import shampoo
from landscape.optimizers.steepest import normalized_gd, sign_gd, spectral_gd, steepest
from landscape.optimizers.watched import watch
from landscape.settings import defaults, resolve

__all__ = ["OPTIMIZERS", "Entry", "make_optimizer", "parameters_of", "resolve_hyperparameters", "takes_full_batch"]


@dataclass(frozen=True)
class Entry:
    """One optimizer.

    Args:
        build: `build(model, *, hyperparameters...)` makes it. A method around another one has a hyperparameter that
            names it, `base`, and is given that one, `build(model, around, *, base, ...)`; what is set as
            `base.momentum` is a hyperparameter of that one. Plain `lr` means `base.lr`.
        summary: One line for `landscape optimizers`.
        full_batch: The method is defined for the whole loss: training gives it the full batch.
        closure: `step(closure)` evaluates the loss itself; the closure zeroes the gradients, runs forward and backward
            and returns the loss.
    """

    build: Callable[..., Optimizer]
    summary: str
    full_batch: bool = False
    closure: bool = False


OPTIMIZERS: dict[str, Entry] = {
    "gd": Entry(wrapped.gd, "gradient descent on the full batch", full_batch=True),
    "sgd": Entry(wrapped.sgd, "stochastic gradient descent, x - lr g"),
    "momentum": Entry(wrapped.momentum, "SGD with the heavy ball's momentum"),
    "nesterov": Entry(wrapped.nesterov, "SGD with Nesterov's momentum"),
    "adagrad": Entry(wrapped.adagrad, "AdaGrad: steps by the root of the sum of squared gradients"),
    "adadelta": Entry(wrapped.adadelta, "AdaDelta: AdaGrad with averages, in units of the parameters"),
    "rmsprop": Entry(rmsprop, "RMSProp: steps by the root of the average of squared gradients"),
    "adam": Entry(wrapped.adam, "Adam: averages of gradient and square, their bias corrected"),
    "amsgrad": Entry(amsgrad, "Adam whose average of squares never decreases"),
    "adamw": Entry(wrapped.adamw, "Adam with decoupled weight decay"),
    "shampoo": Entry(shampoo, "Shampoo: L^(-1/4) G R^(-1/4), one factor for each axis of a tensor"),
    "sam": Entry(sam, "sharpness-aware: the gradient at the worst point nearby, for any base optimizer", closure=True),
    "asam": Entry(asam, "SAM with a neighbourhood in units of the weights", closure=True),
    "grokfast": Entry(grokfast, "the gradient with its slow part amplified, for any base optimizer"),
    "orthograd": Entry(orthograd, "the gradient without its part along the weights, for any base optimizer"),
    "muon": Entry(muon, "momentum and polar factor for hidden matrices, AdamW for all else"),
    "steepest": Entry(steepest, "steepest descent in a norm: x + lr LMO(g), or x + lr |g|* LMO(g)"),
    "normalized-gd": Entry(normalized_gd, "normalised gradient, x - lr g/|g|"),
    "sign-gd": Entry(sign_gd, "sign of the gradient, x - lr sign(g)"),
    "spectral-gd": Entry(spectral_gd, "exact polar factor of each hidden matrix, W - lr UVᵀ"),
    "lbfgs": Entry(wrapped.lbfgs, "L-BFGS with a strong Wolfe line search, full batch", full_batch=True, closure=True),
}


def find_entry(name: str) -> Entry:
    """An optimizer's entry by name; an unknown one raises `RequestError` naming the nearest."""
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def takes_full_batch(name: str, hyperparameters: Mapping[str, Any]) -> bool:
    """Whether training gives an optimizer the full batch: it asks for that, or the one that it is around does."""
    base = hyperparameters.get("base")
    return find_entry(name).full_batch or (isinstance(base, str) and find_entry(base).full_batch)


def resolve_hyperparameters(name: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    """All hyperparameters of an optimizer with the values they will have, checked and converted from text.

    Raises:
        RequestError: If the optimizer or a hyperparameter is unknown, or a value is out of range.
    """
    entry = find_entry(name)
    known = defaults(entry.build)
    base = str(hyperparameters.get("base", known["base"])) if "base" in known else None
    theirs = [] if base is None else [f"base.{key}" for key in defaults(find_entry(base).build)]
    if "base.base" in theirs:
        raise RequestError(f"the base of {name} can't be {base}: choose one that makes steps, such as base=momentum")
    own, inner = {}, {}
    for key, value in hyperparameters.items():
        if key in known:
            own[key] = value
        elif base is not None and (key == "lr" or key.startswith("base.")):  # the learning rate is the base's
            inner[key.removeprefix("base.")] = value
        else:
            raise unknown(f"setting of optimizer '{name}'", key, [*known, *theirs])
    values = resolve(f"optimizer '{name}'", entry.build, own)
    if base is not None:
        values |= {f"base.{key}": value for key, value in resolve_hyperparameters(base, inner).items()}
    _build(entry, Placeholder(), values)  # refuses values that don't go together
    return values


def _build(entry: Entry, model: Parameters, values: Mapping[str, Any]) -> Optimizer:
    """Make an optimizer, and before it the one that it is around, from complete hyperparameters."""
    if "base" not in values:
        return entry.build(model, **values)
    own = {key: value for key, value in values.items() if not key.startswith("base.")}
    theirs = {key.removeprefix("base."): value for key, value in values.items() if key not in own}
    return entry.build(model, find_entry(values["base"]).build(model, **theirs), **own)


def make_optimizer(name: str, model: Parameters, **hyperparameters: Any) -> Optimizer:
    """Make an optimizer for a model's parameters (or for tensors, or parameter groups).

    Args:
        name: A name of `OPTIMIZERS`.
        model: A module, the tensors themselves, or groups of them with options of their own.
        hyperparameters: Its hyperparameters, such as `lr`; the others keep their defaults.

    Raises:
        RequestError: If the optimizer or a hyperparameter is unknown, or a value is out of range.
    """
    values = resolve_hyperparameters(name, hyperparameters)
    optimizer = _build(find_entry(name), model, values)
    return optimizer if isinstance(optimizer, OwnOptimizer) else watch(optimizer)
