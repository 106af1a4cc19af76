"""Checkpoints of one architecture with the data that they belong to: where every study starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.networks.checkpoint import Checkpoint, load_checkpoint, load_into
from landscape.networks.datasets import DataSet, as_data_set
from landscape.networks.problem import Problem, find_loss
from landscape.objective.losses import Loss
from landscape.objective.module import copy_module
from landscape.objective.parameters import Layout
from landscape.studies.curves import CurvePoint, is_point, load_point
from landscape.sweeps.recipe import digest

Source = Path | str | nn.Module


@dataclass(frozen=True)
class Checkpoints:
    """Networks of one architecture.

    Args:
        names: A name for each, distinct.
        models: Each with its own weights and buffers, on the CPU.
        data: The data set that they belong to.
        loss: Name of a loss or a per-sample function.
        problem: What decides a result beside the weights and the contents of the data.
        named: Network, data and loss by name, from which they can be made again; None where one has no name.
    """

    names: tuple[str, ...]
    models: tuple[nn.Module, ...]
    data: DataSet
    loss: str | Loss
    problem: Mapping[str, Any]
    named: Problem | None = None

    @property
    def layout(self) -> Layout:
        """Names and shapes of the tensors that make up theta."""
        return Layout.of(self.models[0])

    def thetas(self) -> Tensor:
        """The parameters of each, shape `(C, D)`."""
        layout = self.layout
        return torch.stack([layout.flatten(dict(model.named_parameters())) for model in self.models])

    def digests(self) -> list[str]:
        """A hash over the contents of each."""
        return [digest({name: _array(value) for name, value in model.state_dict().items()}) for model in self.models]


def gather(
    sources: Sequence[Source],
    *,
    model: str | nn.Module | None = None,
    model_settings: Mapping[str, Any] | None = None,
    data: Any = None,
    data_settings: Mapping[str, Any] | None = None,
    loss: str | Loss | None = None,
    data_dir: Path | None = None,
) -> Checkpoints:
    """Bring checkpoints together with their architecture and data.

    A checkpoint that `landscape train` wrote says by itself what it belongs to; the arguments override that.

    Args:
        sources: Files, points of stored curves (`STORE::bezier@0.5`), or modules with their weights.
        model: Architecture by name or as a module; needed for files that don't name it.
        model_settings: Settings of an architecture given by name.
        data: Data set by name, as `DataSet`, `(inputs, targets)` or `{"train": …, "test": …}`.
        data_settings: Settings of a data set given by name.
        loss: A name, `package.module:function`, or a per-sample function.
        data_dir: First place to look for data files.

    Raises:
        RequestError: If something is missing, the checkpoints are of different architectures or were trained on
            different data and none are given, or weights aren't finite.
    """
    files = {source: _read(source) for source in sources if not isinstance(source, nn.Module)}
    recorded = _recorded(files.values(), data is not None)
    first = next((source for source in sources if isinstance(source, nn.Module)), None)
    architecture = model if model is not None else first
    if architecture is None and recorded is None:
        raise RequestError(f"{next(iter(files.values())).name} doesn't say which network it belongs to: give --model")
    if data is None and recorded is None:
        raise RequestError("the checkpoints don't say which data they belong to: give --data")
    problem = recorded or Problem(model="", data="")
    if isinstance(architecture, str):
        problem = replace(problem, model=architecture, model_settings=model_settings or {})
    elif model_settings:
        problem = replace(problem, model_settings={**problem.model_settings, **model_settings})
    if isinstance(data, str):
        problem = replace(problem, data=data, data_settings=data_settings or {}, label_noise=0.0)
    if isinstance(loss, str):
        problem = replace(problem, loss=loss)
    if data is None or isinstance(data, str):
        loaded = problem.load_data(data_dir)
    else:
        loaded = as_data_set("data", data, source="given in Python")
    own_loss = loss is not None and not isinstance(loss, str)
    chosen: str | Loss = loss if own_loss and loss is not None else problem.find_loss(loaded)
    built = copy_module(architecture) if isinstance(architecture, nn.Module) else problem.build_model(loaded)
    if any(_is_double(file) for file in [*files.values(), *sources]):
        built = built.double()
    Layout.of(built)  # refuses a network without parameters
    models = []
    for source in sources:
        if isinstance(source, nn.Module):
            module = copy_module(source).to(next(built.parameters()).dtype)
        elif isinstance(file := files[source], CurvePoint):
            module = file.network(built, loaded, chosen)
        else:
            module = load_into(built, file)
        models.append(module.cpu().eval())
    names = _distinct(sources)
    _same_architecture(models, names)
    _finite(models, names)
    described = problem.identity() if problem.model else {}
    if isinstance(architecture, nn.Module):
        described |= {"model": type(architecture).__qualname__, "model_settings": {}}
    if data is not None and not isinstance(data, str):
        described |= {"data": loaded.name, "data_settings": {}}
    if own_loss:
        described |= {"loss": None}
    nameless = isinstance(architecture, nn.Module) or own_loss or not (data is None or isinstance(data, str))
    return Checkpoints(names, tuple(models), loaded, chosen, described, None if nameless else problem)


def _read(source: Path | str) -> Checkpoint | CurvePoint:
    """A checkpoint from a file, or a point of a curve from a store."""
    return load_point(str(source)) if is_point(str(source)) else load_checkpoint(source)


def _recorded(files: Iterable[Checkpoint | CurvePoint], data_given: bool) -> Problem | None:
    """The problem that the checkpoints record, if any does; all must agree on the data, unless these are given."""
    recorded = [(file.name, file.recipe) for file in files if file.recipe]
    if not recorded:
        return None
    name, recipe = recorded[0]
    for other, another in recorded[1:]:
        if not data_given and another.get("data") != recipe.get("data"):
            raise RequestError(f"{name} and {other} were trained on different data: say by --data which to use")
    return Problem.from_recipe(recipe)


def _is_double(source: Source | Checkpoint | CurvePoint) -> bool:
    """Whether the weights are in double precision."""
    if isinstance(source, nn.Module):
        return any(tensor.dtype == torch.float64 for tensor in source.parameters())
    if isinstance(source, CurvePoint):
        return source.theta.dtype == torch.float64
    return isinstance(source, Checkpoint) and any(value.dtype == torch.float64 for value in source.state.values())


def _array(tensor: Tensor) -> np.ndarray:
    """A tensor as an array, in full precision; numpy has no bfloat16."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _finite(models: Sequence[nn.Module], names: Sequence[str]) -> None:
    """Refuse weights that aren't finite."""
    for module, name in zip(models, names, strict=True):
        for tensor, value in module.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                raise RequestError(f"{name}: '{tensor}' holds values that are not finite; the run diverged")


def _distinct(sources: Sequence[Source]) -> tuple[str, ...]:
    """A short name for each source: the file name without its suffix, numbered where two have the same."""
    names: list[str] = []
    for number, source in enumerate(sources):
        name = f"model {number}" if isinstance(source, nn.Module) else _short(str(source))
        while name in names:
            name += f" ({number})"
        names.append(name)
    return tuple(names)


def _short(source: str) -> str:
    """The file's name without folder and suffix; a point of a curve keeps its place."""
    path, mark, place = source.rpartition("::") if is_point(source) else (source, "", "")
    return f"{Path(path).stem}{mark}{place}"


def _same_architecture(models: Sequence[nn.Module], names: Sequence[str]) -> None:
    """Refuse modules whose tensors differ from the first one's, naming the first that does."""
    layout = Layout.of(models[0])
    expected = dict(zip(layout.names, layout.shapes, strict=True))
    for module, name in zip(models[1:], names[1:], strict=True):
        other = Layout.of(module)
        found = dict(zip(other.names, other.shapes, strict=True))
        for tensor in [*expected, *found]:
            if expected.get(tensor) != found.get(tensor):
                shapes = [tuple(s[tensor]) if tensor in s else "missing" for s in (expected, found)]
                raise RequestError(
                    f"{names[0]} and {name} are of different architectures: '{tensor}' is {shapes[0]} and {shapes[1]}"
                )


__all__ = ["Checkpoints", "Source", "find_loss", "gather"]
