"""Trainings of a sweep over networks: the factory of the sweeps of `width`, `epoch` and `samples`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import RequestError
from landscape.measures.registry import measure
from landscape.networks.datasets import DataSet
from landscape.networks.loop import Resume
from landscape.networks.sampling import mix
from landscape.networks.training import Trained, train
from landscape.objective.objective import Objective
from landscape.studies.descent.complexity import largest
from landscape.studies.descent.durations import EpochRecipe, SamplesRecipe
from landscape.studies.descent.growth import grow
from landscape.studies.descent.networks import NetworkRecipe
from landscape.studies.descent.recipe import SPLITS, Evaluate
from landscape.studies.descent.supervision import subset
from landscape.studies.descent.width import WidthRecipe
from landscape.studies.journal import FileJournal
from landscape.studies.sharpness.evaluation import MEASURES_SEED
from landscape.studies.trial import check_single
from landscape.sweeps.recipe import recipe_hash

Values = dict[str, float]
NAMES = ("norm", *(f"{quantity}.{split}" for quantity in ("loss", "error") for split in SPLITS))
"""What is known at the end of each training."""


def network_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Train networks and evaluate them.

    Args:
        arguments: The `recipe`, `data_dir`, `device`, `autosave_seconds`, and the names of the `variables` that are
            stored.
    """
    recipe: NetworkRecipe = arguments["recipe"]
    names = arguments["variables"]
    data = recipe.problem.load_data(arguments["data_dir"])
    if recipe.test_samples is not None and data.test is not None:
        data = replace(data, test=replace(data, train=data.test).subset(recipe.test_samples).train)
    runs = Runs(recipe, data, arguments["device"], arguments["autosave_seconds"])

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (seed,), (noise,) = coordinates["seed"], coordinates["noise"]
        found = runs.at([int(c) for c in coordinates["capacity"]], int(seed), float(noise), task)
        values: dict[str, np.ndarray] = {}
        for name in names:
            keys = [f"{name}.{split}" for split in SPLITS] if f"{name}.train" in found[0] else [name]
            column = np.array([[row[key] for key in keys] for row in found])
            values[name] = column.reshape(len(found), 1, 1, *([len(keys)] if len(keys) > 1 else []))
        return values

    return evaluate


class Runs:
    """The trainings of a recipe.

    Args:
        recipe: What to compute.
        data: All training samples, and the test samples to use.
        device: Where to train.
        autosave_seconds: Time between saves of a training's state.
    """

    def __init__(self, recipe: NetworkRecipe, data: DataSet, device: str, autosave_seconds: float) -> None:
        self.recipe, self.data, self.device, self.autosave_seconds = recipe, data, device, autosave_seconds
        self.loss = recipe.problem.find_loss(data)

    def at(self, capacities: list[int], seed: int, noise: float, task: Any) -> list[Values]:
        """The values at each capacity of a task."""
        recipe = self.recipe
        journal = FileJournal(task.scratch)
        report = partial(_report, task, recipe.axis)
        if isinstance(recipe, EpochRecipe):
            return self._along(recipe, seed, noise, task.scratch, report(0, 1, "all"))
        rows: list[Values] = []
        narrow: dict[str, Tensor] | None = None
        for number, capacity in enumerate(capacities):
            count = capacity if isinstance(recipe, SamplesRecipe) else recipe.samples
            told = report(number, len(capacities), capacity)

            found = journal(partial(self._fit, capacity, count, narrow, seed, noise, task.scratch, told))
            values = _unpacked(found["values"])
            state = {name[6:]: tensor for name, tensor in found.items() if name.startswith("state.")}
            if isinstance(recipe, WidthRecipe):
                model = recipe.problem_at(capacity).build_model(self.data, seed)
                model.load_state_dict(state)
                values |= self._measured(recipe, model.eval(), seed, noise, journal)
                if recipe.complexity:
                    values["complexity"] = self._complexity(
                        recipe, capacity, values, seed, noise, task.scratch, journal
                    )
                narrow = state if recipe.reuse else None
            rows.append(values)
        return rows

    def _fit(
        self,
        capacity: int,
        count: int,
        narrow: Mapping[str, Tensor] | None,
        seed: int,
        noise: float,
        scratch: Path,
        report: Callable[..., None],
    ) -> dict[str, Tensor]:
        """Train the network of a capacity: its values at the end and, where they are needed, its weights."""
        model = self.recipe.problem_at(capacity).build_model(self.data, seed)
        if narrow is not None:
            grow(narrow, model)
        trained = self._train(model, count, seed, noise, scratch, report)
        values = {**_last(trained), "norm": self._norm(trained.model)}
        state = trained.model.state_dict() if isinstance(self.recipe, WidthRecipe) else {}
        return {"values": _packed(values), **{f"state.{name}": tensor.cpu() for name, tensor in state.items()}}

    def _data(self, count: int, seed: int, noise: float) -> DataSet:
        """The training set of a repetition: fewer samples are the first of more, with the same wrong labels."""
        whole = subset(self.data, max(count, self.recipe.most_samples), seed).with_label_noise(noise, mix(seed, 2))
        return replace(whole, train=whole.train[:count])

    def _train(
        self,
        model: nn.Module,
        count: int,
        seed: int,
        noise: float,
        scratch: Path,
        report: Callable[..., None] | None = None,
        on_epoch: Callable[[int, nn.Module], None] | None = None,
    ) -> Trained:
        """Train on so many samples; a killed training goes on."""
        training = replace(self.recipe.training, seed=seed)
        signature = recipe_hash({"training": training.recipe(), "count": count, "noise": noise})
        resume = Resume(scratch.with_name(f"{scratch.name}-run"), signature, self.autosave_seconds)
        trained = train(
            model,
            self._data(count, seed, noise),
            training,
            loss=self.loss,
            device=self.device,
            evaluate_every=0,
            on_epoch=on_epoch,
            resume=resume,
            report=report,
        )
        resume.path.unlink(missing_ok=True)
        return trained

    def _along(
        self, recipe: EpochRecipe, seed: int, noise: float, scratch: Path, report: Callable[..., None]
    ) -> list[Values]:
        """One training, evaluated at its epochs; each is kept in a file, for the training may be killed."""
        data = self._data(recipe.samples, seed, noise)
        files = {epoch: scratch.with_name(f"{scratch.name}-epoch{epoch}") for epoch in recipe.epochs}

        def on_epoch(epoch: int, model: nn.Module) -> None:
            if epoch in files:
                objective = Objective(model, data.train, self.loss, device=self.device)
                row: Values = {"norm": self._norm(model)}
                for split, part in data.splits.items():
                    values = objective.on(part).evaluate(objective.theta)
                    row |= {f"{name}.{split}": values[name] for name in ("loss", "error")}
                _keep(files[epoch], row)

        model = recipe.problem.build_model(self.data, seed)
        self._train(model, recipe.samples, seed, noise, scratch, report, on_epoch)
        missing = dict.fromkeys(NAMES, math.nan)
        return [json.loads(file.read_text()) if file.exists() else missing for file in files.values()]

    def _measured(self, recipe: WidthRecipe, model: nn.Module, seed: int, noise: float, journal: FileJournal) -> Values:
        """Sharpness on the training set; NaN where the weights aren't finite."""
        values: Values = {}
        if not recipe.measures:
            return values
        objective = Objective(model, self._data(recipe.samples, seed, noise).train, self.loss, device=self.device)
        finite = bool(objective.theta.isfinite().all())
        for name in recipe.measures:

            def take(name: str = name) -> dict[str, Tensor]:
                generator = torch.Generator().manual_seed(mix(seed, MEASURES_SEED))
                found = measure(name, objective, generator=generator, checked=True)
                return {"values": torch.tensor([float(found.value), float(found.stderr)], dtype=torch.float64)}

            pair = journal(take)["values"].tolist() if finite else [math.nan, math.nan]
            values |= {name: pair[0], f"{name}_stderr": pair[1]}
        return values

    def _complexity(
        self,
        recipe: WidthRecipe,
        capacity: int,
        known: Values,
        seed: int,
        noise: float,
        scratch: Path,
        journal: FileJournal,
    ) -> float:
        """The most samples that this network is trained to fit, from fresh weights; the sweep's own number is known."""

        def fits(count: int) -> bool:
            if count == recipe.samples and not recipe.reuse:
                return known["error.train"] < recipe.epsilon

            def compute() -> dict[str, Tensor]:
                model = recipe.problem_at(capacity).build_model(self.data, seed)
                trained = self._train(model, count, seed, noise, scratch)
                return {"error": torch.tensor(_last(trained)["error.train"])}

            return float(journal(compute)["error"]) < recipe.epsilon

        try:
            check_single(recipe.problem_at(capacity).build_model(self.data), self.data)
            least = 1
        except RequestError:
            least = 2
        return float(largest(fits, recipe.samples, len(self.data.train), least))

    @staticmethod
    def _norm(model: nn.Module) -> float:
        """The norm of all parameters."""
        return math.sqrt(sum(float(p.detach().double().square().sum()) for p in model.parameters()))


def _last(trained: Trained) -> Values:
    """Loss and error at the end of a training; not a number where it diverged."""
    row = trained.history.rows[-1]
    diverged = trained.history.diverged_at is not None
    return {name: math.nan if diverged else row[name] for name in NAMES if name != "norm"}


def _report(task: Any, axis: str, number: int, count: int, capacity: Any) -> Callable[..., None]:
    """What a training tells its task."""

    def report(done: float, **_: Any) -> None:
        task.report((number + done) / count, **{axis.split()[-1]: capacity})

    return report


def _packed(values: Values) -> Tensor:
    """The values at the end of a training as a tensor."""
    return torch.tensor([values[name] for name in NAMES], dtype=torch.float64)


def _unpacked(packed: Tensor) -> Values:
    """The values again."""
    return dict(zip(NAMES, packed.tolist(), strict=True))


def _keep(file: Path, row: Values) -> None:
    """Write a row in one step."""
    aside = file.with_name(f"{file.name}.{os.getpid()}.new")
    aside.write_text(json.dumps(row))
    aside.replace(file)
