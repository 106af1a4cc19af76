"""Train a network: the step, the recorder of its history, and the recipe that decides both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.errors import RequestError, unknown
from landscape.networks.accumulation import BatchLoss, MicroBatch, cut, select_parts
from landscape.networks.datasets import DataSet
from landscape.networks.loop import History, Report, Resume, Row, fit
from landscape.networks.parallel import ALONE, Ranks
from landscape.networks.recorders import Observer, Recorder
from landscape.networks.sampling import AUGMENTATIONS, Shuffle, augment, mix
from landscape.objective.losses import Loss, per_sample, resolve_loss
from landscape.objective.module import apply_module, copy_module, preserved_rng, seed_rng
from landscape.objective.objective import Objective
from landscape.objective.samples import Samples, batch_length
from landscape.optimizers.registry import find_entry, make_optimizer, resolve_hyperparameters, takes_full_batch
from landscape.optimizers.sam import SAM
from landscape.optimizers.schedules import find_schedule, warmed
from landscape.sweeps.recipe import entries, later

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
        micro_batch_size: Samples that are computed at once, to save memory: the gradients of a batch's parts add up to
            the batch's own (see `accumulation`). None for whole batches.
        warmup: Updates over which the learning rate rises linearly to that of the schedule.
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
    micro_batch_size: int | None = later(None)
    warmup: int = later(0)

    def __post_init__(self) -> None:
        """Check everything that can be checked without data."""
        if (self.epochs is None) == (self.steps is None):
            raise RequestError("say how long to train by epochs or by steps, not both")
        for name in ("epochs", "steps", "batch_size", "micro_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name.replace('_', ' ')} must be at least 1, got {value}")
        if self.warmup < 0:
            raise RequestError(f"warmup must be at least 0 updates, got {self.warmup}")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", self.augmentation, AUGMENTATIONS)
        if self.seed < 0:
            raise RequestError(f"seed must be at least 0, got {self.seed}")
        find_schedule(self.schedule)
        hyperparameters = resolve_hyperparameters(self.optimizer, dict(self.hyperparameters))
        object.__setattr__(self, "hyperparameters", hyperparameters)
        stepping = str(
            hyperparameters.get("base", self.optimizer)
        )  # SAM's two passes can be scaled, a line search can't
        if self.precision == "fp16" and find_entry(stepping).closure:
            raise RequestError(
                f"optimizer '{stepping}' evaluates the loss as often as it needs, which the loss scaling of fp16 can't "
                "follow: use precision bf16 or float32"
            )

    def batches(self, num_samples: int) -> Shuffle:
        """The samples of each step's batch."""
        full = takes_full_batch(self.optimizer, self.hyperparameters)
        return Shuffle(num_samples, num_samples if full else self.batch_size, mix(self.seed, 1))

    def num_steps(self, num_samples: int) -> int:
        """Number of updates on so many training samples."""
        return self.steps or (self.epochs or 0) * self.batches(num_samples).steps_per_epoch

    def recipe(self) -> dict[str, Any]:
        """The settings as JSON can hold them, hyperparameters complete."""
        return {**entries(self), "hyperparameters": dict(self.hyperparameters)}


def check_machine(recipe: TrainingRecipe, device: torch.device, ranks: Ranks) -> None:
    """Make sure that a device, and several processes, can train by a recipe.

    Raises:
        RequestError: If they can't.
    """
    if recipe.precision == "fp16" and device.type != "cuda":
        raise RequestError("precision fp16 needs CUDA; use bf16 or float32 on the CPU")
    if ranks.size > 1 and recipe.hyperparameters.get("exact"):  # its product with the Hessian isn't added up
        raise RequestError(f"{recipe.optimizer} with exact=true runs in one process, not {ranks.size}: set exact=false")


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
    observer: Observer | None = None,
    recorders: Sequence[Recorder] = (),
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
        observer: Makes the records of the history instead, at steps of its own, and may end the run.
        recorders: What else is recorded, at steps of its own, in the same row of the history as loss and error there.
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
    check_machine(recipe, device, ranks)
    amp = recipe.precision in ("bf16", "fp16")
    dtype = torch.float32 if amp else PRECISIONS[recipe.precision]
    model = copy_module(model).to(device, dtype)
    judged = data if evaluate_samples is None else data.subset(evaluate_samples)
    samples = Samples(data.train, device, dtype)
    entry = find_entry(recipe.optimizer)
    batches = recipe.batches(len(samples))
    per_epoch, num_steps = batches.steps_per_epoch, recipe.num_steps(len(samples))
    optimizer = make_optimizer(recipe.optimizer, model, **recipe.hyperparameters)
    m = optimizer.m if isinstance(optimizer, SAM) else None
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    autocast = torch.autocast(device.type, PRECISIONS[recipe.precision]) if amp else nullcontext()
    loss_function, _ = resolve_loss(loss)
    generator = torch.Generator(device)
    parameters = list(model.parameters())

    def losses(part: MicroBatch) -> tuple[Tensor, Tensor | None]:
        seed_rng(device, part.seed)  # the same dropout in each pass; inside preserved_rng
        outputs = apply_module(model, part.inputs)
        return per_sample(loss_function, outputs, part.targets, batch_length(part.targets), "loss")

    def draw(index: int) -> list[BatchLoss]:
        """The batch of a step, in as many parts as have a worst point of their own: one but for m-sharpness."""
        groups = [cut(group, recipe.micro_batch_size) for group in cut(batches.indices(index), m)]
        wholes = [part for group in groups for part in group]
        mine = [ranks.part(part) for part in wholes]
        inputs, targets = samples.select(torch.cat([part for part, _ in mine]).to(device))
        inputs = augment(recipe.augmentation, inputs, generator.manual_seed(mix(*ranks.keys(recipe.seed, 2, index))))
        pairs = select_parts(inputs, targets, [len(part) for part, _ in mine])
        seed = mix(*ranks.keys(recipe.seed, 3, index))
        seeds = [mix(seed, number) if number else seed for number in range(len(wholes))]
        micro = iter(
            MicroBatch(*pair, len(whole), weight, own)
            for pair, whole, (_, weight), own in zip(pairs, wholes, mine, seeds, strict=True)
        )
        return [
            BatchLoss(list(islice(micro, len(group))), losses, parameters, scaler.scale, lambda: autocast, ranks)
            for group in groups
        ]

    def step(index: int) -> Tensor:
        values: list[Tensor] = []

        def closure_of(batch: BatchLoss) -> Callable[[], Tensor]:
            def closure() -> Tensor:
                optimizer.zero_grad()
                values.append(batch())
                return values[-1]

            return closure

        parts = draw(index)
        closures = [closure_of(part) for part in parts]
        if isinstance(optimizer, SAM):
            sharp = (closures[0], None) if m is None else (closures, [float(part.size) for part in parts])
            if scaler.is_enabled():
                before, _ = optimizer.evaluate(*sharp)
                scaler.step(optimizer)
                scaler.update()
            else:
                before = optimizer.step(*sharp)
        elif entry.closure:
            optimizer.step(closures[0])  # type: ignore[arg-type]  # torch takes tensors as well
            before = values[0]
        else:
            before = closures[0]()
            scaler.step(optimizer)
            scaler.update()
        if on_epoch is not None and (index + 1) % per_epoch == 0:
            on_epoch((index + 1) // per_epoch, model)
        return torch.as_tensor(before)

    latest: dict[str, float] = {}
    watching = [*recorders, *([] if observer is None else [observer])]

    def tell(done: float, **values: float) -> None:
        if report is not None:
            report(done, samples=round(done * num_steps / per_epoch * len(samples)), **values, **latest)

    def record(done: int) -> Row:
        row: Row = {"learning_rate": optimizer.param_groups[0]["lr"]}
        if not ranks.first:
            return row
        if observer is not None:
            row |= observer.record(done, model)
        else:
            objective = Objective(model, judged.train, loss, device=device, dtype=dtype)
            for split, part in judged.splits.items():
                values = objective.on(part).evaluate(objective.theta)
                row |= {f"{name}.{split}": value for name, value in values.items() if not name.endswith("_stderr")}
        for each in recorders:
            if done in each.steps:
                row |= each.record(done, model)
        latest.update({name.replace(".", " "): row[name] for name in ("error.train", "error.test") if name in row})
        return row

    model.train()
    with preserved_rng(device):
        history = fit(
            step,
            num_steps,
            optimizer,
            {"model": model, "scaler": scaler, **({} if observer is None else {"observer": observer})},
            schedule=warmed(find_schedule(recipe.schedule), recipe.warmup, num_steps),
            recorder=record,
            record_every=evaluate_every * per_epoch if observer is None else 0,
            record_at={step for each in watching for step in each.steps},
            enough=None if observer is None else observer.enough,
            resume=resume,
            report=tell,
        )
    return Trained(model.eval(), history, {split: len(part) for split, part in judged.splits.items()})
