r"""Progress measures of modular arithmetic: how far a network has come from a table to a periodic solution.

Frequencies are those of :math:`\mathbb{Z}_p`; where the operation is a product or a quotient those of
:math:`\mathbb{Z}_{p-1}`, in which logarithms to a primitive root add up, for all symbols but 0. The key frequencies are
the fewest that hold 90 % of the embedding's power at that step (in the paper: those of the trained network).

References:
    Nanda et al., "Progress measures for grokking via mechanistic interpretability", arXiv 2301.05217.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.linalg.fourier import excluded, key_frequencies, power_spectrum, powers, restricted
from landscape.networks.algorithmic import solve
from landscape.networks.datasets import resolve_settings
from landscape.networks.models import MODELS
from landscape.objective.losses import Loss, mean, per_sample, unit_of
from landscape.objective.objective import Objective
from landscape.studies.grok.probes import STEP, Look, Probe, Quantity
from landscape.studies.grok.recipe import GrokRecipe
from landscape.studies.grok.runs import Run

PRODUCTS = ("multiply", "divide")
STRONGEST = 5
"""Frequencies whose share is recorded: as many as Nanda et al. found."""
FIXED = ("model", "data", "modulus", "data.modulus", "encoding", "data.encoding")
"""Settings that change what frequencies there are, so that runs that differ in them have no axis in common."""


def progress_of(recipe: GrokRecipe, run: Run, loss: str | Loss) -> list[Probe]:
    """The probe of a run, if it has these measures: a network that embeds the symbols of modular arithmetic."""
    problem, settings = run.problem, resolve_settings(run.problem.data, run.problem.data_settings)
    if problem.model not in MODELS or not MODELS[problem.model].symbols or problem.data != "modular":
        return []
    modulus = int(settings["modulus"])
    if set(FIXED) & set(recipe.sweep) or modulus < 3:  # two symbols have no frequency beside the constant
        return []
    operations = recipe.sweep.get("operation", (settings["operation"],))
    if set(PRODUCTS) & set(operations) and any(modulus % k == 0 for k in range(2, math.isqrt(modulus) + 1)):
        return []
    return [Progress(modulus, str(settings["operation"]), loss)]


class Progress(Probe):
    """Fourier spectrum of the embedding, restricted and excluded loss.

    Args:
        modulus: p.
        operation: That of the data.
        loss: Name of the loss, or the function.
    """

    def __init__(self, modulus: int, operation: str, loss: Any) -> None:
        self._unit = unit_of(loss)
        self._modulus, self._operation = modulus, operation
        self._rows = torch.tensor(powers(modulus) if operation in PRODUCTS else range(modulus))
        self._places = torch.full((modulus,), -1)
        self._places[self._rows] = torch.arange(len(self._rows))

    def quantities(self) -> dict[str, Quantity]:
        """`embedding_power` by frequency, how it is spread, and both losses."""
        return {
            "embedding_power": Quantity("power of the embedding by frequency", "1", ("frequency", STEP)),
            "key_frequencies": Quantity("number of frequencies that hold 90 % of the embedding's power", "1"),
            "strongest_share": Quantity(f"share of the {STRONGEST} strongest frequencies in that power", "1"),
            "restricted_loss": Quantity("test loss of the logits' key frequencies alone", self._unit),
            "excluded_loss": Quantity("training loss of the logits without their key frequencies", self._unit),
        }

    def coords(self) -> dict[str, Any]:
        """The frequencies; the constant's is 0."""
        return {"frequency": list(range(len(self._rows) // 2 + 1))}

    def record(self, look: Look) -> Mapping[str, Any]:
        """One pass over all equations."""
        power = sum(power_spectrum(table[self._rows]) for table in self._tables(look.model))
        assert isinstance(power, Tensor)
        keys = key_frequencies(power)
        strongest = power[1:].sort(descending=True).values[:STRONGEST].sum() / power[1:].sum()
        losses = self._losses(look, keys)
        return {
            "embedding_power": power.cpu().numpy(),
            "key_frequencies": len(keys),
            "strongest_share": float(strongest),
            "restricted_loss": losses["test"],
            "excluded_loss": losses["train"],
        }

    def _tables(self, model: nn.Module) -> list[Tensor]:
        """The embedding of the p symbols, one table for each place in the equation that has its own."""
        weight = next(one.weight for one in model.modules() if isinstance(one, nn.Embedding)).detach()
        if len(weight) % self._modulus:  # tokens of the equation follow the symbols
            return [weight[: self._modulus]]
        return list(weight.view(-1, self._modulus, weight.shape[1]))

    def _losses(self, look: Look, keys: list[int]) -> dict[str, float]:
        """The restricted loss on the test split and the excluded one on the training split."""
        logits, targets, answers = [], [], []
        for objective in look.objectives.values():
            inputs, labels = objective.samples.inputs, objective.samples.targets
            true = solve(inputs, self._operation, self._modulus)  # a label may be a wrong one
            kept = self._places.to(true.device)[true] >= 0
            with torch.no_grad():
                logits.append(look.model(inputs[kept]))
            targets.append(labels[kept])
            answers.append(true[kept])
        every, labels, known = torch.cat(logits), torch.cat(targets), torch.cat(answers)
        places, order = self._places.to(known.device)[known], len(self._rows)
        first = len(targets[0])  # the training split's
        without = excluded(every, places, order, keys)[:first]
        alone = restricted(every, places, order, keys)[first:]
        return {
            "train": _mean_loss(look.objectives["train"], without, labels[:first]),
            "test": _mean_loss(look.objectives["test"], alone, labels[first:]),
        }


def _mean_loss(objective: Objective, logits: Tensor, targets: Tensor) -> float:
    """The mean loss of some logits."""
    return float(mean(*per_sample(objective.loss_function, logits, targets, len(targets), "loss")))
