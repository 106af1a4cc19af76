"""`landscape grok`: networks that generalise long after they have memorised."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from landscape.errors import RequestError

from . import options


def _swept(ctx: click.Context, param: click.Parameter, pairs: Iterable[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Each swept setting with its values."""
    found: dict[str, tuple[str, ...]] = {}
    for name, text in pairs:
        if name in found:
            raise RequestError(f"--sweep {name} was given twice: give it once, with all values")
        found[name] = tuple(one.strip() for one in str(text).split(",") if one.strip())
    return found


@click.command()
@options.problem
@click.option(
    "--optimizer",
    default="adamw",
    show_default=True,
    metavar="NAME",
    help="A method that `landscape optimizers` lists.",
)
@options.settings("--set", "hyperparameters", "A hyperparameter of the optimizer; adamw.lr=0.01 for that one alone.")
@click.option(
    "--sweep",
    type=options.Settings(),
    multiple=True,
    callback=_swept,
    metavar="NAME=A,B…",
    help="Values of a swept setting of network, data, training or optimizer, such as weight_decay=0,0.3,1; repeatable.",
)
@click.option("--seeds", default=4, show_default=True, metavar="N", help="Runs at each point of the sweep.")
@options.seed
@click.option("--steps", default=3000, show_default=True, metavar="N", help="Updates of a run at most.")
@click.option("--batch-size", type=int, metavar="N", help="Samples in a batch; all if not given.")
@options.schedule
@options.warmup
@options.label_noise
@click.option(
    "--precision", default="float32", show_default=True, metavar="NAME", help="float32, float64, bf16 or fp16."
)
@click.option(
    "--per-decade", default=30, show_default=True, metavar="N", help="Records for each tenfold number of updates."
)
@click.option("--every", type=int, metavar="K", help="Updates between records, instead of a log scale.")
@options.measures("none", "--measure-set")
@click.option(
    "--measure-every", default=3, show_default=True, metavar="K", help="Records from one measured to the next."
)
@click.option(
    "--sketch", default=0, metavar="N", help="Keep a random sketch of N dimensions of the weights at each record."
)
@click.option(
    "--memorised", default=0.99, show_default=True, metavar="P", help="Training accuracy that counts as memorised."
)
@click.option("--threshold", default=0.95, show_default=True, metavar="P", help="Test accuracy that counts as grokked.")
@click.option(
    "--hold", default=10, show_default=True, metavar="N", help="Records in a row with it that end a run; 0: never."
)
@click.option(
    "--checkpoints",
    type=options.Names(),
    default="",
    metavar="NAMES",
    help="Moments to keep checkpoints of, in STORE-checkpoints/: start, memorised, grokked, end.",
)
@click.option("--checkpoint-every", default=0, metavar="K", help="Keep a checkpoint at every K-th record as well.")
@options.autosave
@options.running
def grok(
    data: str | None,
    data_settings: dict[str, Any],
    model: str | None,
    model_settings: dict[str, Any],
    loss: str | None,
    optimizer: str,
    hyperparameters: dict[str, Any],
    sweep: dict[str, tuple[str, ...]],
    seeds: int,
    seed: int,
    steps: int,
    batch_size: int | None,
    schedule: str,
    warmup: int,
    label_noise: float,
    precision: str,
    per_decade: int,
    every: int | None,
    measures: tuple[str, ...] | None,
    measure_settings: dict[str, Any],
    rho: tuple[float, ...] | None,
    measure_every: int,
    sketch: int,
    memorised: float,
    threshold: float,
    hold: int,
    checkpoints: tuple[str, ...],
    checkpoint_every: int,
    autosave: float,
    out: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Train networks on operation tables and record when they memorise and when they generalise.

    Without further options the quadratic network learns addition mod 31 from half of the table by AdamW with weight
    decay 1, and generalises some 450 updates after it has memorised, within seconds. Data sets: modular (add,
    subtract, multiply, divide, x2+y2, x2+xy+y2, x3+xy), permutations, parity; networks: quadratic, embedding-mlp,
    transformer, transformer-nanda, transformer-power. --seeds N runs the seeds from --seed on, which also divide the
    table unless --data-set seed=N is given.

    A run that was killed goes on when the same command is given again, to the same store.
    """
    from landscape.networks.problem import Problem
    from landscape.studies.grok import GrokRecipe
    from landscape.studies.grok import grok as compute

    running = options.run_options(given)
    recipe = GrokRecipe(
        problem=Problem(
            model=model or "quadratic",
            data=data or "modular",
            loss=loss,
            model_settings=model_settings,
            data_settings=data_settings,
            label_noise=label_noise,
        ),
        optimizer=optimizer,
        hyperparameters=hyperparameters,
        seeds=tuple(range(seed, seed + seeds)),
        sweep=sweep,
        steps=steps,
        batch_size=batch_size,
        schedule=schedule,
        warmup=warmup,
        precision=precision,
        per_decade=per_decade,
        every=every,
        measures=measures or (),
        measure_settings=measure_settings,
        rho=rho,
        measure_every=measure_every,
        sketch=sketch,
        memorised=memorised,
        threshold=threshold,
        hold=hold,
        checkpoints=tuple(name for name in checkpoints if name),
        checkpoint_every=checkpoint_every,
    )
    tree = compute(recipe, out, autosave_seconds=autosave, **running)
    options.tell(tree, out, as_json)
