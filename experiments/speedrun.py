"""The speedrun in small: a GPT on real text, all optimizers, steps and seconds to a target loss.

After the NanoGPT speedrun, in which GPT-2 (124M) is trained on FineWeb to a validation loss of 3.28 in as few steps or
seconds as possible. Here each method of the registry has equally many learning rates, from a grid of half decades, each
tried once over the whole length of a run; the best one by the last validation loss then runs from further seeds.
Batches, schedule, and the tokens seen are the same for all.

What is counted:

- A step is a batch; SAM and ASAM take two gradients of it, which only the seconds show.
- Full-batch methods can't have the whole text: one pass over it would take several times what the others see in all.
  Their full batch is a fixed set of windows, and they take so many times fewer steps that they see as many tokens.
- Seconds are batches times the pace of the run: the mean time of a batch between two measurements of the loss, median
  over these stretches. On the CPU it is the process's own time. Measuring the loss costs nothing.
- A run that doesn't reach the target is marked as such; its steps are those up to which that is known.

Hyperparameters are the registry's defaults, but for the learning rate and what a preset names. Further learning rates
(of Muon's AdamW, of spectral descent's other parameters) keep their default ratio to it.

References:
    Jordan et al., modded-nanogpt, https://github.com/KellerJordan/modded-nanogpt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.networks.problem import Problem

from .mechanism import Experiment, Options
from .speedrun_course import Method, Recipe

if TYPE_CHECKING:
    import xarray

    from landscape.figures.style import StyledFigure

NODE = "speedrun"


def half_decades(low: float, high: float) -> tuple[float, ...]:
    """1, 3, 10, 30 and so on between two such numbers, both included."""
    powers = range(round(2 * np.log10(low)), round(2 * np.log10(high)) + 1)
    return tuple(float(f"{(1 if power % 2 == 0 else 3) * 10.0 ** (power // 2):g}") for power in powers)


SPECTRAL = {"norm": "spectral", "normalized": False}
NANO = Problem(
    "gpt-nano",
    "kjv",
    model_settings={"layers": 2, "width": 64, "heads": 2},
    data_settings={"context": 64},
)
TOY = Problem(
    "gpt-nano",
    "stdlib",
    model_settings={"layers": 1, "width": 16, "heads": 2},
    data_settings={"context": 16, "size": 100_000},
)
BEFORE_THE_GPU = (
    Method("adamw", (6e-4,), {"beta2": 0.95, "weight_decay": 0.1}),
    Method("muon", (0.02,), tied={"adamw_lr": 0.03}),
    Method("shampoo", (6e-4,), {"every": 10, "block_size": 1024, "eps_mode": "relative", "grafting": "adam"}),
    Method("momentum", (0.1,)),
)
TARGET = 2.22
"""What AdamW at learning rate 0.01 reached after 70 to 75 % of such a run from seed 0, measured before the race."""
PRESETS = {
    "smoke": Recipe(
        TOY,
        (
            Method("adamw", (3e-3, 3e-2)),
            Method("muon", (0.03, 0.3), tied={"adamw_lr": 0.05}),
            Method("sgd", (0.1, 1e4)),
            Method("gd", (0.1, 1.0)),
            Method("sam", (0.1, 0.3)),
        ),
        steps=40,
        batch_size=4,
        full_batches=5,
        record_every=10,
        validation=16,
        target=3.15,
        seeds=(1, 2),
    ),
    "cpu": Recipe(
        NANO,
        (
            Method("gd", half_decades(0.1, 10.0)),
            Method("sgd", half_decades(0.03, 3.0)),
            Method("momentum", half_decades(0.03, 3.0)),
            Method("nesterov", half_decades(0.03, 3.0)),
            Method("adagrad", half_decades(3e-3, 0.3)),
            Method("adadelta", half_decades(1.0, 100.0)),
            Method("rmsprop", half_decades(1e-3, 0.1)),
            Method("adam", half_decades(1e-3, 0.1)),
            Method("amsgrad", half_decades(1e-3, 0.1)),
            Method("adamw", half_decades(1e-3, 0.1)),
            Method("shampoo", half_decades(3e-4, 3e-2), {"every": 10}),
            Method("shampoo", half_decades(1e-3, 0.1), {"every": 10, "grafting": "adam"}, label="shampoo-grafted"),
            Method("sam", half_decades(0.03, 3.0)),
            Method("asam", half_decades(0.01, 1.0)),
            Method("muon", half_decades(0.01, 1.0), tied={"adamw_lr": 0.05}),
            Method("steepest", half_decades(1e-4, 1e-2), SPECTRAL),
            Method("normalized-gd", half_decades(0.03, 3.0)),
            Method("sign-gd", half_decades(3e-4, 3e-2)),
            Method("spectral-gd", half_decades(0.01, 1.0), tied={"other_lr": 0.1}),
            Method("lbfgs", half_decades(0.03, 3.0)),
        ),
        steps=200,
        batch_size=8,
        record_every=10,
        validation=64,
        target=TARGET,
    ),
    "gpu": Recipe(
        Problem("gpt2-124m", "stdlib", data_settings={"context": 1024, "size": 12_000_000}),
        BEFORE_THE_GPU,
        steps=300,
        batch_size=128,
        full_batches=1,
        record_every=50,
        validation=128,
        seeds=(1,),
        precision="bf16",
        micro_batch_size=32,
    ),
    "gpu-tokens": Recipe(
        Problem("gpt2-124m", "tokens", data_settings={"context": 1024}),
        BEFORE_THE_GPU,
        steps=300,
        batch_size=128,
        full_batches=1,
        record_every=50,
        validation=128,
        seeds=(1,),
        precision="bf16",
        micro_batch_size=32,
    ),
}
"""`gpu` trains GPT-2 on characters of Python's source files, which every machine has; `gpu-tokens` on the shards in
`--data-dir`, such as FineWeb's."""


def run(recipe: Recipe, path: Path, options: Options) -> None:
    """Tune the learning rates, then let the best ones race."""
    from landscape.sweeps import store
    from landscape.sweeps.schema import Sweep, Variable
    from landscape.sweeps.sweep import run as run_sweeps

    from . import speedrun_runs
    from .speedrun_course import Course

    course = Course(recipe, options.data_dir, options.device)
    about: dict[str, Any] = dict(course.describe())
    peak = course.peak()
    identity = {"experiment": recipe, "data": course.data.digest}
    resumed = store.create(path, identity, kind="experiment", attrs={"device": options.device})
    if resumed and store.attributes(path)["complete"]:
        return
    names = [method.name for method in recipe.methods]
    tried = np.array([method.rates for method in recipe.methods])
    about |= {"model": recipe.problem.model, "data": recipe.problem.data, "device_name": course.device_name()}
    loss = {"long_name": "validation loss", "units": "nats"}
    arguments = {"recipe": recipe, "data_dir": options.data_dir, "device": options.device}
    how: dict[str, Any] = {"engine": options.engine, "workers": options.workers, "progress": options.progress}
    methods = {"optimizer": names, "full_batch": ("optimizer", [method.full_batch for method in recipe.methods])}
    chosen = tried[:, 0]
    if recipe.tuned:
        tuning = Sweep(
            node=f"{NODE}/tuning",
            coords={**methods, "rate": tried.shape[1], "learning_rate": (("optimizer", "rate"), tried)},
            over=("optimizer", "rate"),
            variables={"loss": Variable(("optimizer", "rate"), attrs=loss)},
            function=f"{speedrun_runs.__name__}:tuning_evaluator",
            arguments=arguments,
            attrs=about,
        )
        run_sweeps(path, [tuning], describe="tune", **how)
        losses = store.Node(path, tuning.node).read("loss")
        best = np.where(np.isfinite(losses), losses, np.inf).argmin(axis=1)  # of equals the smallest rate
        chosen = tried[np.arange(len(names)), best]
    along, each = ("seed", "optimizer", "step"), ("seed", "optimizer")
    variables = {
        "loss": Variable(along, attrs=loss),
        "batch_seconds": Variable(each, attrs={"long_name": "time of a batch", "units": "s"}),
        "tokens_per_second": Variable(each, attrs={"long_name": "tokens per second", "units": "1/s"}),
    }
    if recipe.target is not None:
        variables |= {
            "outcome": Variable(each, "int8", speedrun_runs.OUTCOMES),
            "steps_to_target": Variable(each, attrs={"long_name": "steps to the target", "units": "1"}),
            "seconds_to_target": Variable(each, attrs={"long_name": "seconds to the target", "units": "s"}),
        }
        about["target"] = recipe.target
    if peak is not None:
        variables["peak_share"] = Variable(each, attrs={"long_name": "share of the device's peak", "units": "1"})
        about["peak"] = peak
    race = Sweep(
        node=f"{NODE}/race",
        coords={
            **methods,
            "seed": np.array(recipe.seeds),
            "step": recipe.records,
            "learning_rate": ("optimizer", chosen),
        },
        over=each,
        variables=variables,
        function=f"{speedrun_runs.__name__}:race_evaluator",
        arguments={
            **arguments,
            "rates": dict(zip(names, chosen.tolist(), strict=True)),
            "peak": peak,
            "operations_per_token": about["operations_per_token"],
        },
        attrs=about,
    )
    run_sweeps(path, [race], describe="race", **how)
    store.finish(path)


def figure(tree: xarray.DataTree) -> StyledFigure:
    """Loss against steps and seconds, the ranking, and the learning rates that were tried."""
    from landscape.figures.speedrun import speedrun_figure

    return speedrun_figure(tree, NODE)


def caption(tree: xarray.DataTree) -> str:
    """What the figure shows, in numbers."""
    from landscape.figures.speedrun_caption import speedrun_caption

    return speedrun_caption(tree, NODE)


EXPERIMENT = Experiment(NODE, PRESETS, run, figure, caption)
