"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from landscape.errors import RequestError, unknown

from .types import Names, Numbers, Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def settings(name: str, parameter: str, what: str) -> Callable[[Command], Command]:
    """A repeatable option for settings, handed on as a dictionary."""

    def collect(ctx: click.Context, param: click.Parameter, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs)

    return click.option(
        name, parameter, type=Settings(), multiple=True, callback=collect, metavar="KEY=VALUE", help=what
    )


def combined(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in this order in the help."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _read_config(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Take a YAML file's entries, and single changes to them, as the options' defaults.

    Click calls this for --config and for --config-set, in the order in which they were given.
    """
    ctx.meta[str(param.name)] = value
    path: Path | None = ctx.meta.get("config")
    changes: dict[str, Any] = dict(ctx.meta.get("config_set") or ())
    if path is None and not changes:
        return
    from landscape.sweeps.recipe import from_yaml

    entries: dict[str, Any] = {}
    if path is not None:
        try:
            entries = from_yaml(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"can't read --config {path}: {error}") from error
    known = {
        option.opts[0].lstrip("-"): option
        for option in ctx.command.params
        if isinstance(option, click.Option) and option.opts[0] not in ("--config", "--config-set")
    }
    defaults: dict[str, Any] = {}
    for key, value in {**entries, **changes}.items():
        name = key.replace("_", "-")
        if name not in known:
            raise unknown("option in the configuration", key, known)
        option = known[name]
        if isinstance(value, dict):
            value = [f"{k}={','.join(map(str, v)) if isinstance(v, list) else v}" for k, v in value.items()]
        elif option.multiple and not isinstance(value, list):
            value = [value]
        elif isinstance(value, list) and not option.multiple:
            value = ",".join(map(str, value))
        defaults[str(option.name)] = value
    ctx.default_map = defaults


config = combined(
    click.option(
        "--config-set",
        type=Settings(),
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="Change one entry of --config.",
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="YAML file with options by name; what the command line says goes before.",
    ),
)

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="First folder to look in for data files; then $LANDSCAPE_DATA and the system's.",
)

problem = combined(
    click.option(
        "--data",
        metavar="NAME",
        help="Data set: a name that `landscape data` lists, FILE.npz, or package.module:factory.",
    ),
    settings("--data-set", "data_settings", "A setting of the data set."),
    click.option(
        "--model",
        metavar="NAME",
        help="Network: a built-in name, package.module:factory, timm:NAME or torchvision:NAME.",
    ),
    settings("--model-set", "model_settings", "A setting of the network, such as hidden=64,64."),
    click.option(
        "--loss",
        metavar="NAME",
        help="cross-entropy, stablemax-cross-entropy, square (against one-hot labels), mse or package.module:function; "
        "by the data if not given.",
    ),
    data_dir,
)

device = combined(
    click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N."),
    click.option("--threads", default=1, show_default=True, metavar="N", help="CPU threads of torch in this process."),
)

engine = combined(
    click.option("--engine", metavar="NAME", help="serial or processes; by default processes on the CPU."),
    click.option("--workers", type=int, metavar="N", help="Worker processes; one per core by default."),
)


def _seconds(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """A time; not a number is none."""
    if not value >= 0:
        raise RequestError(f"--autosave must be at least 0 seconds, got {value:g}")
    return value


autosave = click.option(
    "--autosave",
    type=float,
    callback=_seconds,
    default=20.0,
    show_default=True,
    envvar="LANDSCAPE_AUTOSAVE_SECONDS",
    show_envvar=True,
    metavar="SECONDS",
    help="Time between saves of a run's state, from which the same command goes on after a kill.",
)
SEED = click.IntRange(0, 2**63 - 1)
seed = click.option("--seed", type=SEED, default=0, show_default=True, metavar="N", help="Decides everything random.")
schedule = click.option(
    "--schedule", default="constant", show_default=True, metavar="NAME", help="constant, cosine or piecewise."
)
warmup = click.option(
    "--warmup", default=0, show_default=True, metavar="N", help="Updates over which the learning rate rises linearly."
)
label_noise = click.option(
    "--label-noise", default=0.0, show_default=True, metavar="P", help="Share of training labels made wrong."
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace an output that was made otherwise.")
quiet = click.option("--quiet", is_flag=True, help="No progress on stderr.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
store = click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="STORE.zarr", help="The store to write."
)
running = combined(device, engine, store, overwrite, quiet, as_json, config)
"""Where a study runs and what it leaves: `out`, `as_json`, and what `run_options` takes."""


def evaluation(batchnorm: str, splits: str | None = None) -> Callable[[Command], Command]:
    """On what a study evaluates: `splits`, `samples`, `batchnorm` and `weight_decay`, as its recipe calls them.

    Args:
        batchnorm: The default policy, with a word on exceptions.
        splits: The default splits; None for all.
    """
    return combined(
        click.option(
            "--split",
            "splits",
            type=Names(),
            default=splits,
            metavar="NAMES",
            help=f"Splits to evaluate on, such as train,test; {splits or 'all'} by default.",
        ),
        click.option(
            "--samples", type=int, metavar="N", help="Evaluate on a fixed random subset of N samples of each split."
        ),
        click.option(
            "--batchnorm",
            metavar="NAME",
            help=f"BatchNorm statistics: checkpoint, recompute or batch; {batchnorm} by default.",
        ),
        click.option(
            "--weight-decay", default=0.0, show_default=True, metavar="X", help="Factor of the L2 term in the loss."
        ),
    )


def measures(none: str, setting: str = "--set") -> Callable[[Command], Command]:
    """Measures of sharpness and their settings: `measures`, `measure_settings` and `rho`.

    Args:
        none: What is measured if none is named.
        setting: What the option of a setting is called.
    """

    def collect(ctx: click.Context, param: click.Parameter, names: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
        named = list(names)
        return tuple(name for some in named for name in some if name) if named else None

    return combined(
        click.option(
            "--measure",
            "measures",
            type=Names(),
            multiple=True,
            callback=collect,
            metavar="NAME[,NAME…]",
            help=f"Measures, such as hessian_max,sam_sharpness; repeatable, {none} by default.",
        ),
        settings(
            setting, "measure_settings", "A setting: measure.key=value, or key=value for all measures that have it."
        ),
        click.option(
            "--rho",
            type=Numbers(float, "0.05 or 0.01,0.05"),
            metavar="X[,Y…]",
            help="Radii of the measures' balls around the weights; 0.02,0.05,0.1,0.2 by default.",
        ),
    )


def choose_device(name: str, threads: int) -> str:
    """The device to compute on, once torch is told how many threads to use.

    Raises:
        RequestError: If it is unknown or absent.
    """
    import torch

    if threads < 1:
        raise RequestError(f"--threads must be at least 1, got {threads}")
    torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise unknown("device", name, ("auto", "cpu", "cuda", "cuda:N"))
    if kind == "cuda" and not torch.cuda.is_available():
        raise RequestError(f"--device {name}: this machine or this torch has no CUDA; use --device cpu")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise RequestError(f"--device {name}: there are {torch.cuda.device_count()} CUDA devices, counted from 0")
    return name


def run_options(given: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a study, from the options of `problem` (where a command has them) and `running`.

    Raises:
        RequestError: If there is no such device.
    """
    place = choose_device(given.pop("device"), given.pop("threads"))
    engine = given["engine"] or ("processes" if place == "cpu" else "serial")
    progress = not given.pop("quiet")
    return {**given, "device": place, "engine": engine, "progress": progress}


def tell(tree: Any, out: Path, as_json: bool) -> None:
    """Print what a store holds."""
    from landscape import figures

    summary = figures.summary(tree)
    echo(summary, [figures.report(summary, str(out))], as_json)


def echo(result: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print a result for a machine or for a person."""
    click.echo(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else "\n".join(lines))
