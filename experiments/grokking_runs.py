"""The runs behind `grokking` and `grokking_sweeps`: which networks are trained, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from landscape.networks.problem import Problem
from landscape.studies.grok import GrokRecipe

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
        seeds: Number of runs, each with a split of its own.
        weight_decays: Of AdamW.
        steps: Updates.
        every: Updates between records.
        measure_every: Records between measures of sharpness.
        sketch: Dimensions of the sketch of the path.
    """

    modulus: int = 31
    fraction: float = 0.5
    init_scale: float = 3.0
    seeds: int = 8
    weight_decays: tuple[float, ...] = (0.3, 1.0, 3.0)
    steps: int = 3000
    every: int = 20
    measure_every: int = 2
    sketch: int = 32

    def recipe(self) -> GrokRecipe:
        """The study."""
        return GrokRecipe(
            problem=Problem(
                "quadratic",
                "modular",
                model_settings={"init_scale": self.init_scale},
                data_settings={"modulus": self.modulus, "fraction": self.fraction},
            ),
            hyperparameters={key: value for key, value in ADAMW.items() if key != "weight_decay"},
            seeds=tuple(range(self.seeds)),
            sweep={"weight_decay": self.weight_decays},
            **_recorded(self.steps, self.every, self.measure_every, self.sketch),
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
        weight_decay: Of AdamW.
        seeds: Number of runs.
        steps: Updates.
        every: Updates between records.
        measure_every: Records between measures of sharpness.
        sketch: Dimensions of the sketch of the path.
    """

    modulus: int = 97
    fraction: float = 0.35
    width: int = 128
    batch_size: int = 512
    lr: float = 1e-3
    weight_decay: float = 1.0
    seeds: int = 1
    steps: int = 2700
    every: int = 50
    measure_every: int = 6
    sketch: int = 32

    def recipe(self) -> GrokRecipe:
        """The study, with checkpoints of the memorising and the generalising point."""
        return GrokRecipe(
            problem=Problem(
                "transformer",
                "modular",
                model_settings={"width": self.width},
                data_settings={"modulus": self.modulus, "fraction": self.fraction},
            ),
            hyperparameters={**ADAMW, "lr": self.lr, "weight_decay": self.weight_decay},
            seeds=tuple(range(self.seeds)),
            batch_size=self.batch_size,
            checkpoints=("memorised", "grokked", "end"),
            **_recorded(self.steps, self.every, self.measure_every, self.sketch),
        )


def _recorded(steps: int, every: int, measure_every: int, sketch: int) -> dict[str, Any]:
    """What is recorded: to the end of the budget, at equal distances, as the statistics of the path need it."""
    return {
        "steps": steps,
        "every": every,
        "hold": 0,
        "measures": ("hessian_max", "sam_sharpness"),
        "measure_settings": {"hessian_max.tolerance": TOLERANCE},
        "rho": (RHO,),
        "measure_every": measure_every,
        "sketch": sketch,
    }


@dataclass(frozen=True)
class Grid:
    """Steps to grok by training fraction and weight decay, on the quadratic network.

    Args:
        fractions: Shares of the equations that are trained on.
        weight_decays: Of AdamW.
        seeds: Number of runs at each point.
        steps: Updates at most.
    """

    fractions: tuple[float, ...] = (0.4, 0.5, 0.6, 0.75)
    weight_decays: tuple[float, ...] = (0.3, 1.0, 3.0)
    seeds: int = 3
    steps: int = 1600

    def recipe(self) -> GrokRecipe:
        """The study."""
        return quadratic(
            "adamw",
            {key: value for key, value in ADAMW.items() if key != "weight_decay"},
            {"fraction": self.fractions, "weight_decay": self.weight_decays},
            self.seeds,
            self.steps,
        )


@dataclass(frozen=True)
class Method:
    """One optimizer with the learning rates among which it is tuned.

    Args:
        name: Its name in the figure.
        optimizer: Its name in the registry.
        lrs: Learning rates.
        settings: Its other hyperparameters.
    """

    name: str
    optimizer: str
    lrs: tuple[float, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


RATES = (0.003, 0.01, 0.03)
AROUND = {"base": "adamw", "base.beta2": 0.98, "base.weight_decay": 1.0}
DECAYED = {"beta2": 0.98, "weight_decay": 1.0}


@dataclass(frozen=True)
class Methods:
    """Steps to grok by optimizer, on the quadratic network.

    Methods around AdamW have its weight decay; the orthogonal gradient is tried without, too, as its authors do. Muon's
    decay acts on steps of another size, so that its value is one at which the network was seen to learn.

    Args:
        methods: The optimizers.
        seeds: Number of runs at each learning rate.
        steps: Updates at most.
    """

    methods: tuple[Method, ...] = (
        Method("AdamW", "adamw", RATES, DECAYED),
        Method("Grokfast", "grokfast", RATES, AROUND),
        Method("SAM", "sam", RATES, {**AROUND, "rho": 0.05}),
        Method("⊥ gradient", "orthograd", RATES, AROUND),
        Method("⊥ gradient, no decay", "orthograd", RATES, {**AROUND, "base.weight_decay": 0.0}),
        Method(
            "Muon", "muon", (0.01, 0.03, 0.1), {"hidden": "weight", "scale": "match_rms_adamw", "weight_decay": 0.3}
        ),
    )
    seeds: int = 2
    steps: int = 1000

    def recipes(self) -> list[GrokRecipe]:
        """A study for each method."""
        return [quadratic(one.optimizer, one.settings, {"lr": one.lrs}, self.seeds, self.steps) for one in self.methods]


def quadratic(
    optimizer: str, settings: Mapping[str, Any], sweep: Mapping[str, tuple[float, ...]], seeds: int, steps: int
) -> GrokRecipe:
    """Runs of the quadratic network that end when they have grokked."""
    return GrokRecipe(
        optimizer=optimizer, hyperparameters=settings, seeds=tuple(range(seeds)), sweep=sweep, steps=steps
    )
