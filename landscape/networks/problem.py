"""What a checkpoint was trained on, by name: a network, a data set and a loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from landscape.errors import RequestError
from landscape.factories import is_factory, load_factory
from landscape.networks.datasets import DataSet, load_data
from landscape.networks.datasets import resolve_settings as resolve_data_settings
from landscape.networks.models import build_model, check_symbols, check_text, resolve_settings
from landscape.objective.losses import LOSSES, Loss
from landscape.objective.module import apply_module, preserved_rng


@dataclass(frozen=True)
class Problem:
    """The names and settings from which network, data and loss are made again.

    Args:
        model: Name of an architecture, or `package.module:factory`.
        data: Name of a data set, or `package.module:factory`.
        loss: Name of a loss, or `package.module:function`; None means cross-entropy for classes, mse for regression.
        model_settings: Settings of the architecture.
        data_settings: Settings of the data set.
        label_noise: Fraction of the training labels that are replaced by wrong ones.
        label_noise_seed: Decides which.
    """

    model: str
    data: str
    loss: str | None = None
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    data_settings: Mapping[str, Any] = field(default_factory=dict)
    label_noise: float = 0.0
    label_noise_seed: int = 0

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any]) -> Problem:
        """The problem that a checkpoint's recipe records.

        Raises:
            RequestError: If it records none.
        """
        try:
            return cls(**recipe["problem"])
        except (KeyError, TypeError) as error:
            raise RequestError(
                "the checkpoint's recipe doesn't say which network and data it belongs to: give --model and --data"
            ) from error

    def recipe(self) -> dict[str, Any]:
        """The problem as JSON can hold it, settings complete."""
        model_settings = resolve_settings(self.model, self.model_settings)
        data_settings = resolve_data_settings(self.data, self.data_settings)
        return asdict(replace(self, model_settings=model_settings, data_settings=data_settings))

    def identity(self) -> dict[str, Any]:
        """The part of it that decides a result: as `recipe`, but a data file by its name, wherever it lies."""
        recipe = self.recipe()
        return {**recipe, "data": Path(self.data).name} if self.data.endswith(".npz") else recipe

    def load_data(self, data_dir: Path | None = None) -> DataSet:
        """Load the data set, label noise applied."""
        data = load_data(self.data, data_dir=data_dir, settings=self.data_settings)
        return data.with_label_noise(self.label_noise, self.label_noise_seed) if self.label_noise else data

    def build_model(self, data: DataSet, seed: int = 0) -> nn.Module:
        """Build the network for that data, its weights drawn with the seed; torch's random state stays as it was."""
        if data.is_text:
            check_text(self.model, self.data)
        elif len(data.input_shape) == 1 and isinstance(data.train.inputs, torch.Tensor):  # not several by name
            check_symbols(self.model, self.data, not data.train.inputs.is_floating_point())
        with preserved_rng(torch.device("cpu"), seed):
            model = build_model(self.model, data.input_shape, data.num_outputs, self.model_settings)
            if any(is_lazy(tensor) for tensor in model.parameters()):
                apply_module(model.eval(), data.train[:2].inputs)  # lazy layers learn their shapes from data
                model.train()
            return model

    def find_loss(self, data: DataSet) -> str | Loss:
        """The loss: by name for `Objective`, or the user's own function."""
        name = self.loss or ("mse" if data.num_classes is None else "cross-entropy")
        return find_loss(name)


def find_loss(name: str) -> str | Loss:
    """A loss by name, or imported from `package.module:function`.

    Raises:
        RequestError: If the function can't be imported or called.
    """
    if name in LOSSES or not is_factory(name):
        return name
    function = load_factory("loss", name)
    if not callable(function):
        raise RequestError(f"loss '{name}' is no function")
    loss: Loss = function
    return loss
