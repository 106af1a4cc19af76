"""One run of the study: the factory of its sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from landscape.networks.checkpoint import save_checkpoint
from landscape.networks.loop import History, Resume
from landscape.networks.training import train
from landscape.objective.losses import Loss
from landscape.studies.grids import Evaluate
from landscape.studies.grok.probes import MEASURED, STEP, Fit, Norms, Probe, Quantity, Sharpness
from landscape.studies.grok.progress import progress_of
from landscape.studies.grok.recipe import GrokRecipe, Value
from landscape.studies.grok.recorder import Recorder
from landscape.studies.grok.runs import Run, make_run
from landscape.studies.grok.walk import Walk
from landscape.sweeps.schema import Status


def make_probes(recipe: GrokRecipe, run: Run, loss: str | Loss) -> list[Probe]:
    """What is recorded along a run, loss and accuracy first."""
    probes: list[Probe] = [Fit(loss), Norms(), Walk(recipe.sketch), *progress_of(recipe, run, loss)]
    if recipe.measures:
        probes.append(Sharpness(recipe.resolved_measures(), recipe.measured_steps(), loss, run.training.seed))
    return probes


def quantities(probes: Sequence[Probe]) -> dict[str, Quantity]:
    """All variables of the store."""
    found: dict[str, Quantity] = {"seconds": Quantity("time spent so far", "s")}
    for probe in probes:
        found |= probe.quantities()
    return found


def run_name(seed: int, values: Mapping[str, Value]) -> str:
    """What a run is called in the names of its checkpoints."""
    return "-".join([f"seed={seed}", *(f"{name}={value}" for name, value in values.items())])


def grok_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Train one run and record it.

    Args:
        arguments: `recipe` (`GrokRecipe`), `data_dir`, `device`, `folder` of the checkpoints, `header` with what all of
            them say, `signature` of the whole study, `autosave_seconds`.
    """
    recipe: GrokRecipe = arguments["recipe"]
    signature: str = arguments["signature"]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        seed = int(coordinates["seed"][0])
        values: dict[str, Value] = {name: coordinates[name][0].item() for name in recipe.sweep}
        run, name = make_run(recipe, seed, values), run_name(seed, values)
        data = run.problem.load_data(arguments["data_dir"])
        loss = run.problem.find_loss(data)
        probes = make_probes(recipe, run, loss)
        header = {
            **arguments["header"],
            "problem": run.problem.recipe(),
            "data": data.digest,
            "training": run.training.recipe(),
            "signature": signature,
        }

        def keep(moment: str, step: int, model: nn.Module) -> None:
            save_checkpoint(arguments["folder"] / f"{name}-{moment}.safetensors", model, {**header, "step": step})

        recorder = Recorder(recipe, data, loss, torch.device(arguments["device"]), probes, keep)
        trained = train(
            run.problem.build_model(data, seed),
            data,
            run.training,
            loss=loss,
            device=arguments["device"],
            observer=recorder,
            resume=Resume(task.scratch, f"{signature} {name}", arguments["autosave_seconds"]),
            report=lambda done, **postfix: task.report(done, loss=postfix["loss"]),
        )
        if "end" in recipe.checkpoints:
            keep("end", int(trained.history.rows[-1]["step"]), trained.model)
        sizes = {dim: len(labels) for dim, labels in coordinates.items()}
        found = collect(trained.history, recipe, quantities(probes), sizes)
        return {key: value[(None,) * (1 + len(values))] for key, value in found.items()}

    return evaluate


def collect(
    history: History, recipe: GrokRecipe, variables: Mapping[str, Quantity], sizes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The records of a run as arrays over all steps, with the status along them.

    Args:
        history: What was recorded.
        recipe: The study's.
        variables: What is stored.
        sizes: Length of each dimension.

    Returns:
        Each variable with its own dimensions, NaN where the run had ended, and `status`.
    """
    steps = recipe.record_steps()
    places = {STEP: {step: place for place, step in enumerate(steps)}}
    places[MEASURED] = {step: place for place, step in enumerate(recipe.measured_steps())}
    found = {name: np.full([sizes[dim] for dim in one.dims], np.nan) for name, one in variables.items()}
    after = Status.STOPPED if history.diverged_at is None else Status.NON_FINITE
    status = np.full(len(steps), after, np.int8)
    for row in history.rows:
        step = int(row["step"])
        if step not in places[STEP]:  # a diverged run is recorded where it broke off
            continue
        sound = True
        for name, one in variables.items():
            place = places[one.dims[-1]].get(step)
            if place is None:
                continue
            shape = found[name].shape[:-1]
            value = np.array(
                [row.get(f"{name} {k}", row.get(name, np.nan)) for k in range(int(np.prod(shape, dtype=int)))]
            )
            found[name][..., place] = value.reshape(shape)
            sound &= bool(np.isfinite(value).all())
        status[places[STEP][step]] = Status.DONE if sound else Status.NON_FINITE
    return {**found, "status": status}
