"""How a study of checkpoints opens: they are gathered with what they belong to, and tried on a few samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from landscape.errors import RequestError
from landscape.objective.batchnorm import check_policy
from landscape.objective.determinism import check_deterministic
from landscape.objective.losses import Loss
from landscape.objective.objective import Objective
from landscape.studies.network import Network
from landscape.studies.networks import Checkpoints, Source, gather
from landscape.studies.study import Running, RunningOptions, Study, choose_splits


class Options(RunningOptions, total=False):
    """What checkpoints belong to, and where to compute: keyword arguments of every study of checkpoints.

    Args:
        model: Architecture by name or as a module, for files that don't name it.
        model_settings: Settings of an architecture given by name.
        data: Data set by name, as `DataSet`, `(inputs, targets)` or `{"train": …, "test": …}`.
        data_settings: Settings of a data set given by name.
        loss: A name or a per-sample function; cross-entropy (mse for regression) by default.
        data_dir: First place to look for data files.
        **running: As `RunningOptions`: `device`, `engine`, `workers`, `overwrite`, `progress`.
    """

    model: Any
    model_settings: Mapping[str, Any] | None
    data: Any
    data_settings: Mapping[str, Any] | None
    loss: Any
    data_dir: Path | None


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """On what, and with which BatchNorm statistics, a study evaluates: part of the recipe of each.

    Args:
        splits: Splits to evaluate on; None for all that the data have.
        samples: Evaluate on a fixed random subset of so many samples of each split; None for all.
        batchnorm: BatchNorm policy; None for the study's own default.
        weight_decay: Factor of the L2 term in the loss.
    """

    splits: tuple[str, ...] | None = None
    samples: int | None = None
    batchnorm: str | None = None
    weight_decay: float = 0.0

    @property
    def policy(self) -> str:
        """The BatchNorm policy."""
        return self.batchnorm or "checkpoint"

    def __post_init__(self) -> None:
        """Check everything that can be checked without checkpoints."""
        check_policy(self.policy)
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise RequestError(f"weight decay must be at least 0, got {self.weight_decay}")


@dataclass(frozen=True)
class Opened:
    """Checkpoints at hand, and what is evaluated.

    Args:
        ends: The checkpoints.
        network: The loss, with the first checkpoint's weights.
        recipe: On what it is evaluated.
        running: Where and how.
    """

    ends: Checkpoints
    network: Network
    recipe: EvaluationRecipe
    running: Running


def open_checkpoints(
    checkpoints: Sequence[Source] | Source,
    recipe: EvaluationRecipe,
    options: Options,
    metrics: Mapping[str, Loss] | None = None,
) -> Opened:
    """Bring checkpoints together with what they belong to.

    Args:
        checkpoints: Files, points of stored curves or modules, of one architecture.
        recipe: On what to evaluate.
        options: What they belong to, and where to compute.
        metrics: Further per-sample functions by name, evaluated beside the loss.

    Raises:
        RequestError: If they don't belong together, or something is missing.
    """
    given: dict[str, Any] = dict(options)
    running = Running(**{field.name: given.pop(field.name) for field in fields(Running) if field.name in given})
    ends = gather([checkpoints] if isinstance(checkpoints, Source) else checkpoints, **given)
    network = Network(
        ends.models[0],
        ends.data,
        ends.loss,
        recipe.samples,
        recipe.policy,
        recipe.weight_decay,
        running.device,
        metrics=metrics or {},
    )
    return Opened(ends, network, recipe, running)


class CheckpointStudy(Study):
    """A study of checkpoints.

    Args:
        opened: The checkpoints, and what is evaluated.
    """

    def __init__(self, opened: Opened) -> None:
        super().__init__(opened.running)
        self.ends, self.network = opened.ends, opened.network
        self.splits = choose_splits(opened.recipe.splits, opened.ends.data.splits)

    @cached_property
    def networks(self) -> list[Network]:
        """The loss with each checkpoint's weights."""
        return [replace(self.network, model=model) for model in self.ends.models]

    def objective(self) -> Objective:
        """The loss on the first split."""
        return next(iter(self.network.objectives(self.splits).values()))

    def recipe(self) -> dict[str, Any]:
        """Everything that the result of every study depends on."""
        return {
            "checkpoints": self.ends.digests(),
            "problem": dict(self.ends.problem),
            **self.network.recipe(),
            "splits": self.splits,
        }

    def check(self) -> None:
        """Try everything on a few samples, so that a wrong request ends before anything is written."""
        super().check()
        objectives = self.network.objectives(self.splits)
        for objective in objectives.values():
            objective.check()
        check_deterministic(next(iter(objectives.values())))
        if self.running.engine == "processes":
            self.network.check_transport()
