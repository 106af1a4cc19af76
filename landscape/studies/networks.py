"""Checkpoints of one architecture with the data that they belong to: where every study starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.networks.checkpoint import load_checkpoint, load_into
from landscape.networks.datasets import DataSet, as_data_set
from landscape.networks.problem import Problem, find_loss
from landscape.objective.losses import Loss
from landscape.objective.module import copy_module
from landscape.objective.objective import Objective
from landscape.objective.parameters import Layout
from landscape.sweeps.recipe import digest

Source = Path | str | nn.Module


@dataclass(frozen=True)
class Network:
    """A network's loss on its data, in a form that can be sent to another process.

    Args:
        model: The architecture, with some weights.
        data: All data.
        loss: Name of a loss or a per-sample function.
        samples: Evaluate on a fixed random subset of so many samples of each split; None for all.
        batchnorm: BatchNorm policy.
        weight_decay: Factor of the L2 term in the loss.
        device: Where to compute.
        batch_size: Samples in a microbatch of an evaluation.
    """

    model: nn.Module
    data: DataSet
    loss: str | Loss
    samples: int | None = None
    batchnorm: str = "recompute"
    weight_decay: float = 0.0
    device: str = "cpu"
    batch_size: int = 128

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        if self.samples is not None and self.samples < 1:
            raise RequestError(f"the number of samples must be at least 1, got {self.samples}")

    def objectives(self, splits: Sequence[str]) -> dict[str, Objective]:
        """The loss on each split; all share one private model, whose BatchNorm statistics come from training inputs."""
        part = self.data if self.samples is None else self.data.subset(self.samples)
        train = self._objective(part.train, len(self.data.train))
        others = {name: split for name, split in part.splits.items() if name != "train"}
        objectives = {"train": train}
        objectives |= {name: train.on(split, len(self.data.splits[name])) for name, split in others.items()}
        return {name: objectives[name] for name in splits}

    def training_objective(self) -> Objective:
        """The loss on all training data, for gradients on minibatches."""
        return self._objective(self.data.train, len(self.data.train))

    def _objective(self, split: Any, population: int) -> Objective:
        return Objective(
            self.model,
            split,
            self.loss,
            batchnorm=self.batchnorm,
            weight_decay=self.weight_decay,
            device=self.device,
            batch_size=self.batch_size,
            population=population,
        )

    def recipe(self) -> dict[str, Any]:
        """What decides its values, beside the weights: contents and numbers, never places."""
        return {
            "data": self.data.digest,
            "loss": self.loss if isinstance(self.loss, str) else f"{self.loss.__module__}:{self.loss.__qualname__}",
            "samples": self.samples,
            "batchnorm": self.batchnorm,
            "weight_decay": self.weight_decay,
        }


@dataclass(frozen=True)
class Checkpoints:
    """Networks of one architecture.

    Args:
        names: A name for each, distinct.
        models: Each with its own weights and buffers, on the CPU.
        data: The data set that they belong to.
        loss: Name of a loss or a per-sample function.
        problem: Names and settings of network, data and loss, where they have names; else descriptions.
    """

    names: tuple[str, ...]
    models: tuple[nn.Module, ...]
    data: DataSet
    loss: str | Loss
    problem: Mapping[str, Any]

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
        return [
            digest({name: value.detach().float().numpy() for name, value in model.state_dict().items()})
            for model in self.models
        ]


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
        sources: Files, or modules with their weights.
        model: Architecture by name or as a module; needed for files that don't name it.
        model_settings: Settings of an architecture given by name.
        data: Data set by name, as `DataSet`, `(inputs, targets)` or `{"train": …, "test": …}`.
        data_settings: Settings of a data set given by name.
        loss: A name, `package.module:function`, or a per-sample function.
        data_dir: First place to look for data files.

    Raises:
        RequestError: If something is missing, or the checkpoints are of different architectures.
    """
    files = {source: load_checkpoint(source) for source in sources if not isinstance(source, nn.Module)}
    recorded = next((Problem.from_recipe(file.recipe) for file in files.values() if file.recipe), None)
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
    if not isinstance(architecture, nn.Module):
        architecture = problem.build_model(loaded)
    models = []
    for source in sources:
        module = source if isinstance(source, nn.Module) else load_into(architecture, files[source])
        models.append(copy_module(module).cpu().eval())
    _same_architecture(models, names := _distinct(sources))
    described = {
        **(problem.recipe() if problem.model else {"model": type(architecture).__qualname__}),
        **({} if data is None or isinstance(data, str) else {"data": loaded.name}),
    }
    chosen = loss if loss is not None and not isinstance(loss, str) else problem.find_loss(loaded)
    return Checkpoints(names, tuple(models), loaded, chosen, described)


def _distinct(sources: Sequence[Source]) -> tuple[str, ...]:
    """A short name for each source: the file name without its suffix, numbered where two have the same."""
    names: list[str] = []
    for number, source in enumerate(sources):
        name = f"model {number}" if isinstance(source, nn.Module) else Path(source).stem
        names.append(name if name not in names else f"{name} ({number})")
    return tuple(names)


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


__all__ = ["Checkpoints", "Network", "Source", "find_loss", "gather"]
