"""Curves in stores: load one, or take a point of one, `STORE::bezier@0.5`, for a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import RequestError, unknown
from landscape.geometry.slices import Curve, make_curve
from landscape.networks.datasets import DataSet
from landscape.objective.losses import Loss
from landscape.objective.module import copy_module
from landscape.objective.objective import Objective
from landscape.objective.parameters import Layout
from landscape.sweeps import store
from landscape.sweeps.schema import Status

MARK = "::"
FORM = "STORE::CURVE@T or STORE::CURVE@T#PAIR, such as c.zarr::bezier@0.5"


def load_curve(path: Path | str, curve: str = "bezier", pair: int = 0) -> Curve:
    """Load a curve from a store of `landscape connect`.

    Args:
        path: The store.
        curve: Name of the curve: one that was fitted, or `linear`.
        pair: Number of the pair.

    Returns:
        The curve; `load_curve(...)(t)` gives parameters, shape `(D,)` for a number t.

    Raises:
        RequestError: If there is no store, no such curve or pair in it, or the fit isn't done yet.
    """
    return _load(path, curve, pair)[0]


def _load(path: Path | str, curve: str, pair: int) -> tuple[Curve, dict[str, Any]]:
    """A curve, and the attributes of its fit."""
    tree = store.open(path)
    fits = tree["connect/fit"].children if "/connect/fit" in tree.groups else {}
    if not fits:
        raise RequestError(f"{path} holds no curves: expected a store that `landscape connect` wrote")
    if curve not in fits and curve != "linear":
        raise unknown(f"curve in {path}:", curve, ["linear", *fits])
    fitted = fits[curve if curve in fits else next(iter(fits))]
    if not 0 <= pair < fitted.sizes["pair"]:
        raise RequestError(f"{path} has pairs 0 to {fitted.sizes['pair'] - 1}, not {pair}")
    one = fitted.isel(pair=pair)
    if int(one["status"]) in (Status.TO_DO, Status.FAILED):
        raise RequestError(f"{path}: the curves of pair {pair} aren't fitted yet: run `landscape connect` to its end")
    points = torch.from_numpy(one["control_points"].values)
    return make_curve(curve, points[[0, -1]] if curve == "linear" else points), dict(fitted.attrs)


@dataclass(frozen=True)
class CurvePoint:
    """A point of a stored curve, which stands for a checkpoint.

    Args:
        name: What to call it.
        theta: Its parameters, shape `(D,)`.
        tensors: Shape of each tensor that they are made of, by name.
        recipe: Network and data of the store's checkpoints, where they have names: `problem` and the `data`'s digest.
    """

    name: str
    theta: Tensor
    tensors: Mapping[str, tuple[int, ...]]
    recipe: Mapping[str, Any] | None

    def network(self, architecture: nn.Module, data: DataSet, loss: str | Loss) -> nn.Module:
        """The network at that point, its BatchNorm statistics those of the training data.

        Args:
            architecture: Only read; other buffers are taken from it.
            data: For the statistics.
            loss: The loss that belongs to the data.

        Raises:
            RequestError: If the architecture is another one, naming the first tensor that differs.
        """
        layout = Layout.of(architecture)
        expected = {name: tuple(shape) for name, shape in zip(layout.names, layout.shapes, strict=True)}
        for name in [*expected, *self.tensors]:
            if expected.get(name) != self.tensors.get(name):
                found, wanted = self.tensors.get(name, "missing"), expected.get(name, "missing")
                difference = f"'{name}' is {found} but the model's is {wanted}"
                raise RequestError(f"checkpoint {self.name} is of another architecture: {difference}")
        objective = Objective(architecture, data.train, loss, batchnorm="recompute", dtype=self.theta.dtype)
        objective.module.place(self.theta)
        result = copy_module(architecture)
        result.load_state_dict(objective.module.module.state_dict())
        return result


def is_point(source: str) -> bool:
    """Whether a name asks for a point of a curve rather than for a file."""
    return MARK in source and not Path(source).exists()


def load_point(source: str) -> CurvePoint:
    """The point of a curve that `STORE::CURVE@T` or `STORE::CURVE@T#PAIR` names.

    Args:
        source: The name; t in [0, 1], pair 0 unless given.

    Raises:
        RequestError: If the form is wrong, or there is no such store, curve, pair or point.
    """
    path, _, place = source.rpartition(MARK)
    name, at, position = place.partition("@")
    number, _, pair = position.partition("#")
    if not (path and name and at) or (pair and not pair.isdigit()):
        raise RequestError(f"'{source}' names no point of a curve: expected {FORM}")
    try:
        t = float(number)
    except ValueError:
        raise RequestError(f"'{source}': t must be a number in [0, 1], got '{number}'; expected {FORM}") from None
    if not 0 <= t <= 1:
        raise RequestError(f"'{source}': t must lie in [0, 1], got {number}")
    curve, attrs = _load(path, name, int(pair or 0))
    theta = curve(torch.tensor(t, dtype=torch.float64))
    if not bool(theta.isfinite().all()):
        raise RequestError(f"checkpoint {source} holds values that are not finite; the fit diverged")
    names, shapes = json.loads(attrs["parameter_names"]), json.loads(attrs["parameter_shapes"])
    tensors = {name: tuple(shape) for name, shape in zip(names, shapes, strict=True)}
    data = json.loads(store.attributes(path)["recipe"])["data"]
    recipe = {"problem": json.loads(attrs["problem"]), "data": data} if attrs.get("problem") else None
    return CurvePoint(f"{Path(path).stem}::{place}", theta, tensors, recipe)
