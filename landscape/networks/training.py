"""Train a network: the step, the recorder of its history, and the recipe that decides both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.errors import RequestError, unknown
from landscape.networks.datasets import DataSet
from landscape.networks.loop import History, Report, Resume, Row, fit
from landscape.networks.parallel import ALONE, Ranks
from landscape.networks.sampling import AUGMENTATIONS, Shuffle, augment, mix
from landscape.objective.losses import Loss, per_sample, resolve_loss
from landscape.objective.module import apply_module, copy_module, preserved_rng, seed_rng
from landscape.objective.objective import Objective
from landscape.objective.samples import Samples, batch_length
from landscape.optimizers.registry import find_entry, make_optimizer, resolve_hyperparameters, takes_full_batch
from landscape.optimizers.schedules import find_schedule

PRECISIONS: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything but network and data that decides a training run.

    Args:
        optimizer: Name of an optimizer.
        hyperparameters: Its hyperparameters.
        epochs: Passes over the data; None where `steps` says how long.
        steps: Updates.
        batch_size: Samples in a batch; methods for the full batch take all, whatever it says.
        schedule: Learning-rate schedule: `constant`, `cosine` or `piecewise`.
        augmentation: `none`, `crop`, `flip` or `crop-flip`.
        precision: `float32` or `float64`; `bf16` or `fp16` for mixed precision (the latter on CUDA only).
        seed: Decides the initial weights, the batches, augmentation and dropout.
    """

    optimizer: str = "sgd"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = 30
    steps: int | None = None
    batch_size: int = 128
    schedule: str = "constant"
    augmentation: str = "none"
    precision: Literal["float32", "float64", "bf16", "fp16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check everything that can be checked without data."""
        if (self.epochs is None) == (self.steps is None):
            raise RequestError("say how long to train by epochs or by steps, not both")
        for name in ("epochs", "steps", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name.replace('_', ' ')} must be at least 1, got {value}")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", self.augmentation, AUGMENTATIONS)
        if self.seed < 0:
            raise RequestError(f"seed must be at least 0, got {self.seed}")
        if self.precision == "fp16" and find_entry(self.optimizer).closure:
            raise RequestError(
                f"optimizer '{self.optimizer}' evaluates the loss itself, which the loss scaling of fp16 can't follow: "
                "use precision bf16 or float32"
            )
        find_schedule(self.schedule)
        hyperparameters = resolve_hyperparameters(self.optimizer, dict(self.hyperparameters))
        object.__setattr__(self, "hyperparameters", hyperparameters)

    def recipe(self) -> dict[str, Any]:
        """The settings as JSON can hold them, hyperparameters complete."""
        return asdict(self)


def check_precision(precision: str, device: torch.device) -> None:
    """Make sure that a device can train in a precision.

    Raises:
        RequestError: If it can't.
    """
    if precision == "fp16" and device.type != "cuda":
        raise RequestError("precision fp16 needs CUDA; use bf16 or float32 on the CPU")


@dataclass(frozen=True)
class Trained:
    """A trained network and what was recorded on the way.

    Args:
        model: The network, in evaluation mode.
        history: `loss.train`, `error.test` and so on, with `learning_rate`, at each record.
        samples: Number of samples in each split that was evaluated.
    """

    model: nn.Module
    history: History
    samples: Mapping[str, int]


def train(
    model: nn.Module,
    data: DataSet,
    recipe: TrainingRecipe | None = None,
    *,
    loss: str | Loss = "cross-entropy",
    device: str | torch.device = "cpu",
    evaluate_every: int = 1,
    evaluate_samples: int | None = None,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    resume: Resume | None = None,
    report: Report | None = None,
    ranks: Ranks = ALONE,
) -> Trained:
    """Train a copy of a network.

    Loss and error in the history are those of the whole splits, or of `evaluate_samples`, un-augmented, in evaluation
    mode.

    Args:
        model: Architecture and initial weights; only read.
        data: Training split and, for the history, test split.
        recipe: How to train.
        loss: A name, or a per-sample function.
        device: Where to train.
        evaluate_every: Epochs between records of the history (for a run in steps: so many times the steps of one
            epoch); 0 for the end only.
        evaluate_samples: Samples of each split on which loss and error are recorded, a fixed random subset; None for
            all.
        on_epoch: Called after each epoch with its number and the network, for checkpoints.
        resume: Where to keep the run's state, so that a killed run goes on to the same bits.
        report: Told the progress, `report(fraction, samples=..., loss=...)`, with the last recorded errors.
        ranks: The processes that train together, each of which calls this with the same arguments.

    Raises:
        RequestError: If the recipe doesn't fit the data or the machine.
    """
    recipe = recipe or TrainingRecipe()
    if evaluate_every < 0:
        raise RequestError(f"evaluate_every must be at least 0, got {evaluate_every}")
    device = torch.device(device)
    check_precision(recipe.precision, device)
    amp = recipe.precision in ("bf16", "fp16")
    dtype = torch.float32 if amp else PRECISIONS[recipe.precision]
    model = copy_module(model).to(device, dtype)
    judged = data if evaluate_samples is None else data.subset(evaluate_samples)
    samples = Samples(data.train, device, dtype)
    entry = find_entry(recipe.optimizer)
    full = takes_full_batch(recipe.optimizer, recipe.hyperparameters)
    batches = Shuffle(len(samples), len(samples) if full else recipe.batch_size, mix(recipe.seed, 1))
    per_epoch = batches.steps_per_epoch
    num_steps = recipe.steps if recipe.steps is not None else (recipe.epochs or 0) * per_epoch
    optimizer = make_optimizer(recipe.optimizer, model, **recipe.hyperparameters)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    autocast = torch.autocast(device.type, PRECISIONS[recipe.precision]) if amp else nullcontext()
    loss_function, _ = resolve_loss(loss)
    generator = torch.Generator(device)

    def step(index: int) -> Tensor:
        part, weight = ranks.part(batches.indices(index))
        inputs, targets = samples.select(part.to(device))
        inputs = augment(recipe.augmentation, inputs, generator.manual_seed(mix(*ranks.keys(recipe.seed, 2, index))))
        values: list[Tensor] = []

        def evaluate() -> Tensor:
            seed_rng(
                device, mix(*ranks.keys(recipe.seed, 3, index))
            )  # the same dropout in each pass; inside preserved_rng
            with autocast:
                outputs = apply_module(model, inputs)
                value = ranks.mean(*per_sample(loss_function, outputs, targets, batch_length(targets), "loss"), weight)
            optimizer.zero_grad()
            scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            values.append(ranks.add(value.detach(), model.parameters()))
            return values[-1]

        if entry.closure:
            optimizer.step(evaluate)  # type: ignore[arg-type]  # torch takes tensors as well
        else:
            evaluate()
            scaler.step(optimizer)
            scaler.update()
        if on_epoch is not None and (index + 1) % per_epoch == 0:
            on_epoch((index + 1) // per_epoch, model)
        return values[0]  # before the update

    latest: dict[str, float] = {}

    def tell(done: float, **values: float) -> None:
        if report is not None:
            report(done, samples=round(done * num_steps / per_epoch * len(samples)), **values, **latest)

    def record(done: int) -> Row:
        row: Row = {"learning_rate": optimizer.param_groups[0]["lr"]}
        if not ranks.first:
            return row
        objective = Objective(model, judged.train, loss, device=device, dtype=dtype)
        for split, part in judged.splits.items():
            values = objective.on(part).evaluate(objective.theta)
            row |= {f"{name}.{split}": value for name, value in values.items() if not name.endswith("_stderr")}
        latest.update({name.replace(".", " "): row[name] for name in ("error.train", "error.test") if name in row})
        return row

    model.train()
    with preserved_rng(device):
        history = fit(
            step,
            num_steps,
            optimizer,
            {"model": model, "scaler": scaler},
            schedule=find_schedule(recipe.schedule),
            recorder=record,
            record_every=evaluate_every * per_epoch,
            resume=resume,
            report=tell,
        )
    return Trained(model.eval(), history, {split: len(part) for split, part in judged.splits.items()})
