"""The runs behind the experiments on grokking: which networks are trained, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from landscape.networks.problem import Problem
from landscape.studies.grok import GrokRecipe

PROGRESS = ("key_frequencies", "restricted_loss", "excluded_loss")
"""Of Nanda et al.'s measures, what is kept of every run."""
ADAMW = {"lr": 0.01, "beta2": 0.98, "weight_decay": 1.0}
RHO = 0.05
TOLERANCE = 0.1
"""Residual of the largest eigenvalue; its own relative error is of the order of the square."""


@dataclass(frozen=True)
class Fast:
    """The quadratic network, which groks within seconds.

    Args:
        modulus: p of addition mod p.
        fraction: Share of the equations that is trained on.
        init_scale: Factor of the initial weights.
        seeds: Number of runs at each weight decay, each with a split of its own.
        weight_decays: Of AdamW.
        steps: Updates at each weight decay.
        records: Records of a run.
        measure_every: Records between measures of sharpness.
        sketch: Dimensions of the sketch of the path.
        slow_decay: A weight decay so small that the plateau lasts for decades; float64, for it would underflow.
        slow_steps: Updates with it at most; a run stops when it has grokked.
    """

    modulus: int = 31
    fraction: float = 0.5
    init_scale: float = 3.0
    seeds: int = 8
    weight_decays: tuple[float, ...] = (0.3, 1.0, 3.0)
    steps: tuple[int, ...] = (3000, 3000, 3000)
    records: int = 150
    measure_every: int = 2
    sketch: int = 32
    slow_decay: float = 0.05
    slow_steps: int = 40_000

    def _problem(self) -> Problem:
        return Problem(
            "quadratic",
            "modular",
            model_settings={"init_scale": self.init_scale},
            data_settings={"modulus": self.modulus, "fraction": self.fraction},
        )

    def recipes(self) -> dict[float, GrokRecipe]:
        """The study of each weight decay."""
        return _along(self, ADAMW["lr"], None, {"problem": self._problem()})

    def slow(self) -> GrokRecipe:
        """The study of the smallest."""
        return GrokRecipe(
            problem=self._problem(),
            hyperparameters={**ADAMW, "weight_decay": self.slow_decay},
            seeds=tuple(range(self.seeds)),
            precision="float64",
            steps=self.slow_steps,
        )


@dataclass(frozen=True)
class Attention:
    """The one-layer transformer, trained on minibatches.

    Args:
        modulus: p of addition mod p.
        fraction: Share of the equations that is trained on.
        width: Of the residual stream.
        batch_size: Equations in a batch.
        lr: Of AdamW.
        warmup: Updates over which it rises.
        seeds: Number of runs at each weight decay, each with a split of its own.
        weight_decays: Of AdamW.
        steps: Updates at each weight decay.
        records: Records of a run.
        measure_every: Records between measures of sharpness.
        sketch: Dimensions of the sketch of the path.
    """

    modulus: int = 97
    fraction: float = 0.35
    width: int = 128
    batch_size: int = 512
    lr: float = 1e-3
    warmup: int = 10
    seeds: int = 8
    weight_decays: tuple[float, ...] = (0.3, 1.0, 2.0)
    steps: tuple[int, ...] = (12_000, 5000, 2000)
    records: int = 60
    measure_every: int = 3
    sketch: int = 32

    def recipes(self) -> dict[float, GrokRecipe]:
        """The study of each weight decay, with checkpoints of the memorising and the generalising point."""
        problem = Problem(
            "transformer",
            "modular",
            model_settings={"width": self.width},
            data_settings={"modulus": self.modulus, "fraction": self.fraction},
        )
        further = {"problem": problem, "warmup": self.warmup, "checkpoints": ("memorised", "grokked", "end")}
        return _along(self, self.lr, self.batch_size, further)


def _along(
    runs: Fast | Attention, lr: float, batch_size: int | None, further: dict[str, Any]
) -> dict[float, GrokRecipe]:
    """A study for each weight decay: recorded to the end, at equal distances, as the statistics of a path need it."""
    return {
        decay: GrokRecipe(
            hyperparameters={**ADAMW, "lr": lr, "weight_decay": decay},
            seeds=tuple(range(runs.seeds)),
            batch_size=batch_size,
            steps=steps,
            every=max(1, steps // runs.records),
            hold=0,
            measures=("hessian_max", "sam_sharpness"),
            measure_settings={"hessian_max.tolerance": TOLERANCE},
            rho=(RHO,),
            measure_every=runs.measure_every,
            sketch=runs.sketch,
            **further,
        )
        for decay, steps in zip(runs.weight_decays, runs.steps, strict=True)
    }
