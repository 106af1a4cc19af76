"""Measures at one checkpoint on one split: the factory of the study's sweep."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from landscape.errors import RequestError, WorkError
from landscape.measures.curved import METHODS
from landscape.measures.measured import State, forgetful
from landscape.measures.registry import LOSS, MEASURES, measure
from landscape.networks.sampling import mix
from landscape.objective.losses import Loss, unit_of
from landscape.objective.objective import Objective
from landscape.studies.grids import Evaluate
from landscape.studies.journal import FileJournal
from landscape.sweeps.schema import Variable

DENSITY = "hessian_density"
MEASURES_SEED = 4
"""What measures' random numbers are for (see `mix`): those of a run's own seed give its initial weights again."""
SKIPPED = (DENSITY, f"{DENSITY}_stderr", f"{DENSITY}_low", f"{DENSITY}_high")
"""What is computed again on axes that all checkpoints share."""


def flat(
    name: str, objective: Objective, settings: Mapping[str, Any], seed: int, journal: Any
) -> dict[str, np.ndarray]:
    """A measure's results as a store has them: `<measure>`, `<measure>_stderr` and further ones."""
    generator = torch.Generator().manual_seed(mix(seed, MEASURES_SEED))
    found = measure(name, objective, generator=generator, journal=journal, checked=True, **settings)
    more = {f"{name}_{part}": value for part, value in found.more.items()}
    values = {name: found.value, f"{name}_stderr": found.stderr, **more}
    return {key: value for key, value in values.items() if key not in SKIPPED}


def flat_along(measures: Mapping[str, Mapping[str, Any]], objective: Objective, seed: int) -> dict[str, np.ndarray]:
    """All measures of the objective's own weights on the way of a run; NaN, a scalar, for what has diverged.

    Args:
        measures: Their settings by name.
        objective: The loss.
        seed: Decides what is random in each.
    """
    found = dict.fromkeys(variable_dims(measures), np.array(np.nan))
    if bool(objective.theta.isfinite().all()):
        for name, settings in measures.items():
            with suppress(WorkError):  # a product that is not finite, at weights that still are
                found |= flat(name, objective, settings, seed, forgetful)
    return found


def variable_dims(names: Any) -> dict[str, tuple[str, ...]]:
    """The own dimensions of each variable of some measures."""
    dims: dict[str, tuple[str, ...]] = {}
    for name in names:
        entry = MEASURES[name]
        dims |= {name: entry.dims, f"{name}_stderr": entry.dims}
        dims |= {f"{name}_{part}": own for part, own in entry.more.items()}
    return {key: own for key, own in dims.items() if key not in SKIPPED}


def own_coords(measures: Mapping[str, Mapping[str, Any]], num_parameters: int | None = None) -> dict[str, Any]:
    """Labels of the own dimensions of some measures, as far as they are known before anything is measured.

    Args:
        measures: Their settings by name.
        num_parameters: The number D of parameters, which densities ask for.
    """
    dims = {dim for own in variable_dims(measures).values() for dim in own}
    found: dict[str, Any] = {}
    if "rho" in dims:
        found["rho"] = next(list(one["rho"]) for one in measures.values() if "rho" in one)
    if "k" in dims:
        found["k"] = list(range(1, measures["hessian_top"]["k"] + 1))
    if "probe" in dims:
        assert num_parameters is not None
        found["probe"] = measures[DENSITY]["probes"]
        found["lanczos"] = min(measures[DENSITY]["steps"], num_parameters)
    if "chain" in dims:
        found["chain"] = measures["local_learning_coefficient"]["chains"]
    return found


def check_measures(measures: Mapping[str, Mapping[str, Any]], num_parameters: int) -> None:
    """Refuse more eigenvalues than there are.

    Raises:
        RequestError: If so.
    """
    if (k := measures.get("hessian_top", {}).get("k", 0)) > num_parameters:
        raise RequestError(f"{k} eigenvalues were asked for, but the network has {num_parameters} parameters: lower k")


def described(name: str, measures: Any, unit: str) -> tuple[str, str]:
    """What a variable of some measures is, in words, and its units.

    Args:
        name: The variable: a measure's, or one of its further results.
        measures: Names of the measures.
        unit: The loss's own.
    """
    owner = next(one for one in measures if name == one or name.startswith(f"{one}_"))
    entry, part = MEASURES[owner], name.removeprefix(owner).strip("_")
    units = entry.units.replace(LOSS, unit, 1) if entry.units.startswith(LOSS) else entry.units
    if part in ("residual", "ratio", "weights", "method"):
        units = "1"
    elif part == "nodes":
        units = f"{unit} / distance²"
    words = {"": entry.words, "stderr": f"standard error of the {entry.words}"}
    return words.get(part, f"{part} of the {entry.words}"), units


def measure_variables(
    measures: Mapping[str, Mapping[str, Any]], over: tuple[str, ...], loss: str | Loss
) -> dict[str, Variable]:
    """A variable for each result of some measures, all but densities.

    Args:
        measures: Their settings by name.
        over: Dimensions that say where they are taken.
        loss: Name of the loss, or the function.
    """
    return {
        name: Variable((*over, *own), attrs=measure_attrs(name, measures, loss))
        for name, own in variable_dims(measures).items()
    }


def measure_attrs(name: str, measures: Any, loss: str | Loss) -> dict[str, Any]:
    """What a reader should know of a variable of some measures."""
    words, units = described(name, measures, unit_of(loss))
    flags = {"flag_values": list(range(len(METHODS))), "flag_meanings": " ".join(METHODS)}
    return {"long_name": words, "units": units} | (flags if name.endswith("_method") else {})


def sharpness_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Take all measures at one checkpoint on one split.

    Args:
        arguments: `networks`, one for each checkpoint, `labels` of these, the `seed`, and `measures` with their
            settings.
    """
    networks, labels, chosen = arguments["networks"], arguments["labels"], arguments["measures"]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (checkpoint,), (split,) = coordinates["checkpoint"], coordinates["split"]
        objective = networks[labels.index(checkpoint)].objectives((split,))[split]
        done = FileJournal(task.scratch)
        values: dict[str, np.ndarray] = {}
        for number, (name, settings) in enumerate(chosen.items()):
            task.report(number / len(chosen), measure=name)

            def take(name: str = name, settings: Mapping[str, Any] = settings) -> State:
                journal = FileJournal(task.scratch.with_name(f"{task.scratch.name}-{name}"))
                found = flat(name, objective, settings, arguments["seed"], journal)
                return {key: torch.from_numpy(np.array(value)) for key, value in found.items()}

            values |= {key: value.numpy()[None, None] for key, value in done(take).items()}
        return values

    return evaluate
