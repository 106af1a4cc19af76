"""The course of `speedrun`: its recipe, and a GPT trained on it by one optimizer at one learning rate from one seed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.errors import RequestError, unknown
from landscape.networks.loop import Resume, Row, fit
from landscape.networks.problem import Problem
from landscape.networks.sampling import Shuffle, mix
from landscape.networks.throughput import find_peak, operations_per_token
from landscape.objective.module import copy_module
from landscape.objective.samples import Samples
from landscape.optimizers.registry import find_entry, make_optimizer, takes_full_batch
from landscape.optimizers.schedules import find_schedule
from landscape.sweeps.recipe import recipe_hash

PRECISIONS = ("float32", "float64", "bf16")


@dataclass(frozen=True)
class Method:
    """An optimizer and the learning rates that are tried with it.

    Args:
        optimizer: Its name.
        rates: Learning rates; the best of them by the tuning runs is used, or the only one.
        hyperparameters: What differs from the defaults.
        tied: Further learning rates of the method, as multiples of the rate: their ratio stays that of the defaults.
        label: Its name in the race; the optimizer's where none is given.
    """

    optimizer: str
    rates: tuple[float, ...]
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    tied: Mapping[str, float] = field(default_factory=dict)
    label: str | None = None

    @property
    def name(self) -> str:
        """What it is called in the store."""
        return self.label or self.optimizer

    def settings(self, rate: float) -> dict[str, Any]:
        """The hyperparameters at a learning rate."""
        return {"lr": rate, **self.hyperparameters, **{name: ratio * rate for name, ratio in self.tied.items()}}

    @property
    def full_batch(self) -> bool:
        """Whether the method takes the full batch."""
        return takes_full_batch(self.optimizer, self.hyperparameters)


@dataclass(frozen=True)
class Recipe:
    """A race between optimizers.

    Args:
        problem: GPT and text.
        methods: The optimizers; all are tried with equally many learning rates.
        steps: Batches that each run sees.
        batch_size: Windows in a batch.
        full_batches: The "full batch" of the methods that ask for it, in batches: windows drawn once for each seed.
            They take so many times fewer steps, so that they see as many tokens as all others.
        schedule: Learning-rate schedule of all.
        record_every: Batches between two measurements of the validation loss.
        validation: Windows of the test split on which it is measured, a fixed random subset.
        target: The validation loss to reach, nats for each symbol; None for no target.
        tuning_seed: Decides weights and batches of the tuning runs.
        seeds: Those of the runs of the race.
        precision: `float32`, `float64`, or `bf16` for mixed precision.
        micro_batch_size: Windows that are computed at once; None for the whole batch.
        peak: Operations per second of the device; None looks it up.
    """

    problem: Problem
    methods: tuple[Method, ...]
    steps: int
    batch_size: int = 16
    full_batches: int = 10
    schedule: str = "cosine"
    record_every: int = 20
    validation: int = 128
    target: float | None = None
    tuning_seed: int = 0
    seeds: tuple[int, ...] = (1, 2, 3)
    precision: str = "float32"
    micro_batch_size: int | None = None
    peak: float | None = None

    def __post_init__(self) -> None:
        """Check what only the race knows."""
        if len({len(method.rates) for method in self.methods}) != 1 or not self.methods[0].rates:
            raise RequestError("all methods need equally many learning rates, one at least: it is the budget of tuning")
        names = [method.name for method in self.methods]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise RequestError(f"two methods are called '{twice}': give one of them another label")
        if self.steps % self.record_every or self.record_every % self.full_batches:
            raise RequestError(
                f"steps ({self.steps}) must be a multiple of record_every ({self.record_every}), and that of "
                f"full_batches ({self.full_batches}), so that all methods are measured after the same tokens"
            )
        if self.precision not in PRECISIONS:
            raise unknown("precision of a race", self.precision, PRECISIONS)

    @property
    def tuned(self) -> bool:
        """Whether there are learning rates to choose from."""
        return len(self.methods[0].rates) > 1

    @property
    def records(self) -> np.ndarray:
        """Batches seen at each measurement."""
        return np.arange(0, self.steps + 1, self.record_every)


class Course:
    """Text, network and validation windows of a race, on a device.

    Args:
        recipe: The race.
        data_dir: First place to look for data files.
        device: Where to compute.
    """

    def __init__(self, recipe: Recipe, data_dir: Any, device: str) -> None:
        self.recipe, self.device = recipe, torch.device(device)
        mixed = recipe.precision == "bf16"
        self.autocast = torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext()
        self.dtype = torch.float64 if recipe.precision == "float64" else torch.float32
        self.data = recipe.problem.load_data(data_dir)
        if self.data.test is None:
            raise RequestError(f"data set '{self.data.name}' has no test split to measure the validation loss on")
        self.train = Samples(self.data.train, self.device, self.dtype)
        self.test = Samples(self.data.subset(recipe.validation).test, self.device, self.dtype)
        (self.context,) = self.data.input_shape

    def describe(self) -> dict[str, float]:
        """What a figure should know of network and data."""
        model = self.recipe.problem.build_model(self.data)
        return {
            "parameters": sum(tensor.numel() for tensor in model.parameters()),
            "symbols": self.data.num_outputs,
            "context": self.context,
            "batch_tokens": self.recipe.batch_size * self.context,
            "training_tokens": self.data.train.targets.numel(),
            "validation_tokens": len(self.test) * self.context,
            "full_batches": self.recipe.full_batches,
            "operations_per_token": operations_per_token(model, self.context),
        }

    def device_name(self) -> str:
        """What the device calls itself."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def peak(self) -> float | None:
        """Operations per second that the device can do at most; None if that isn't known."""
        return self.recipe.peak or find_peak(self.device_name(), self.recipe.precision)

    def validation_loss(self, model: nn.Module) -> float:
        """The mean loss over the validation windows, nats for each symbol."""
        micro = self.recipe.micro_batch_size or 128
        model.eval()
        with torch.no_grad():
            total = sum(self._loss(model, x, y) * len(y) for x, y in self.test.batches(micro))
        model.train()
        return float(total) / len(self.test)

    def _loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss over some windows."""
        with self.autocast:
            logits = model(inputs)
        return F.cross_entropy(logits.flatten(0, 1).to(self.dtype), targets.flatten())

    def seconds(self) -> float:
        """A clock: on the CPU this process's own time, whatever else the machine does."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def run(self, method: Method, rate: float, seed: int, record_every: int, task: Any) -> list[Row]:
        """Train.

        Args:
            method: The optimizer.
            rate: Its learning rate.
            seed: Decides weights and batches.
            record_every: Batches between records.
            task: Keeps the state of an unfinished run and is told the progress.

        Returns:
            For each record the number of batches seen (`batches`), the validation `loss`, and the mean time of a batch
            since the record before (`batch_seconds`), which the time for measuring the loss is not part of.
        """
        recipe, entry = self.recipe, find_entry(method.optimizer)
        model = copy_module(recipe.problem.build_model(self.data, seed=mix(seed, 0))).to(self.device, self.dtype)
        optimizer = make_optimizer(method.optimizer, model, **method.settings(rate))
        many = recipe.full_batches if method.full_batch else 1
        size = many * recipe.batch_size
        batches = Shuffle(len(self.train), size, mix(seed, 1))
        micro = recipe.micro_batch_size or size
        spent: list[float] = []

        def step(index: int) -> Tensor:
            inputs, targets = self.train.select(batches.indices(0 if method.full_batch else index))
            begin = self.seconds()
            values: list[Tensor] = []

            def evaluate() -> Tensor:
                optimizer.zero_grad()
                total = torch.zeros((), device=self.device)
                for x, y in zip(inputs.split(micro), targets.split(micro), strict=True):
                    loss = self._loss(model, x, y) * (len(y) / len(targets))
                    loss.backward()
                    total += loss.detach()
                values.append(total)
                return total

            if entry.closure:
                optimizer.step(evaluate)  # type: ignore[arg-type]  # torch takes tensors as well
            else:
                evaluate()
                optimizer.step()
            spent.append(self.seconds() - begin)
            return values[0]

        def record(done: int) -> Row:
            mean = sum(spent) / len(spent) / many if spent else 0.0
            spent.clear()
            return {"batches": done * many, "loss": self.validation_loss(model), "batch_seconds": mean}

        signature = recipe_hash({"recipe": recipe, "method": method, "rate": rate, "seed": seed, "every": record_every})
        history = fit(
            step,
            recipe.steps // many,
            optimizer,
            {"model": model},
            schedule=find_schedule(recipe.schedule),
            recorder=record,
            record_every=record_every // many,
            resume=Resume(task.scratch, signature),
            report=task.report,
        )
        return history.rows
