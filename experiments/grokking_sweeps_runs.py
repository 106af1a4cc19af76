"""The runs behind `grokking_sweeps`: the quadratic network by fraction and weight decay, and by optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from landscape.networks.problem import Problem
from landscape.studies.grok import GrokRecipe

BETA2 = 0.98
STABLEMAX = "stablemax-cross-entropy"
HOLD = 3
"""Records in a row with enough test accuracy that end a run: the step at which it groks is what is asked for."""


@dataclass(frozen=True)
class Grid:
    """Steps to grok by training fraction and weight decay, by AdamW at one learning rate.

    Args:
        fractions: Shares of the equations that are trained on.
        weight_decays: Of AdamW.
        lr: Its learning rate.
        init_scale: Factor of the initial weights.
        seeds: Number of runs at each point.
        steps: Updates at most.
    """

    fractions: tuple[float, ...] = (0.4, 0.5, 0.6, 0.75)
    weight_decays: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0)
    lr: float = 0.01
    init_scale: float = 3.0
    seeds: int = 8
    steps: int = 2000

    def recipe(self) -> GrokRecipe:
        """The study."""
        return GrokRecipe(
            problem=Problem("quadratic", "modular", model_settings={"init_scale": self.init_scale}),
            hyperparameters={"lr": self.lr, "beta2": BETA2},
            seeds=tuple(range(self.seeds)),
            sweep={"fraction": self.fractions, "weight_decay": self.weight_decays},
            steps=self.steps,
            hold=HOLD,
        )


@dataclass(frozen=True)
class Method:
    """One way to train, with the learning rates among which it is tuned.

    Args:
        name: Its name in the figure.
        optimizer: The optimizer's name in the registry.
        lrs: Learning rates, half a decade apart.
        settings: The optimizer's other hyperparameters.
        loss: Name of the loss.
        precision: `float32` or `float64`.
    """

    name: str
    optimizer: str
    lrs: tuple[float, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    loss: str = "cross-entropy"
    precision: str = "float32"


@dataclass(frozen=True)
class Methods:
    """Steps to grok by optimizer: the learning rate is chosen on some seeds, and others are run with it.

    Args:
        methods: What is compared.
        fraction: Share of the equations that is trained on.
        init_scale: Factor of the initial weights.
        tuning_seeds: Number of runs at each learning rate.
        seeds: Number of further runs at the best.
        steps: Updates at most.
    """

    methods: tuple[Method, ...]
    fraction: float
    init_scale: float
    tuning_seeds: int
    seeds: int
    steps: int

    def recipe(self, method: Method, lrs: tuple[float, ...], seeds: range) -> GrokRecipe:
        """The study of a method at some learning rates."""
        return GrokRecipe(
            problem=Problem(
                "quadratic",
                "modular",
                method.loss,
                model_settings={"init_scale": self.init_scale},
                data_settings={"fraction": self.fraction},
            ),
            optimizer=method.optimizer,
            hyperparameters=method.settings,
            seeds=tuple(seeds),
            sweep={"lr": lrs},
            steps=self.steps,
            precision=method.precision,
            hold=HOLD,
        )

    def tuning(self, method: Method) -> GrokRecipe:
        """The study that chooses a method's learning rate."""
        return self.recipe(method, method.lrs, range(self.tuning_seeds))

    def measured(self, method: Method, lr: float) -> GrokRecipe:
        """The study of a method at its best learning rate, on seeds that didn't choose it."""
        return self.recipe(method, (lr,), range(self.tuning_seeds, self.tuning_seeds + self.seeds))


def around_adamw(weight_decay: float, **settings: Any) -> dict[str, Any]:
    """The settings of a method around AdamW."""
    return {"base": "adamw", "base.beta2": BETA2, "base.weight_decay": weight_decay, **settings}


MUON = {"hidden": "weight", "scale": "match_rms_adamw", "weight_decay": 1.0}
DECAYED = Methods(
    (
        Method("AdamW", "adamw", (0.01, 0.03, 0.1, 0.3), {"beta2": BETA2, "weight_decay": 1.0}),
        Method("Grokfast AdamW", "grokfast", (0.01, 0.03, 0.1, 0.3), around_adamw(1.0)),
        Method("SAM AdamW", "sam", (0.01, 0.03, 0.1, 0.3), around_adamw(1.0, rho=0.05)),
        Method("Muon", "muon", (0.03, 0.1, 0.3, 1.0), MUON),
        Method("⊥ AdamW", "orthograd", (0.003, 0.01, 0.03, 0.1), around_adamw(1.0)),
    ),
    fraction=0.5,
    init_scale=3.0,
    tuning_seeds=2,
    seeds=5,
    steps=1200,
)
"""By optimizer at equal weight decay. Under the orthogonal gradient nothing opposes the decay."""
UNDECAYED = Methods(
    (
        Method("Adam, softmax", "adam", (0.003, 0.01, 0.03), {"beta2": BETA2}),
        Method("Adam, softmax in float64", "adam", (0.003, 0.01, 0.03), {"beta2": BETA2}, precision="float64"),
        Method("Adam, StableMax", "adam", (0.003, 0.01, 0.03), {"beta2": BETA2}, STABLEMAX),
        Method("Grokfast Adam, StableMax", "grokfast", (0.001, 0.003, 0.01), around_adamw(0.0), STABLEMAX),
        Method("⊥ Adam, softmax", "orthograd", (0.003, 0.01, 0.03), around_adamw(0.0)),
        Method("with decay 1: AdamW", "adamw", (0.03, 0.1, 0.3), {"beta2": BETA2, "weight_decay": 1.0}),
    ),
    fraction=0.75,
    init_scale=2.0,
    tuning_seeds=1,
    seeds=5,
    steps=1200,
)
"""Without weight decay, and last with it, from the initial scale at which the orthogonal gradient fits the data."""
