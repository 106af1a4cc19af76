r"""How much wider one of two minima is: its sharpness relative to the other's by every measure, and a verdict.

Scaling the weights can change a raw measure by any factor without changing what the network computes (where BatchNorm
follows, or between layers of ReLU). So measures in units of distance in weight space are kept apart from those that
count in units of the weights, and a verdict is given for each kind.

References:
    Dinh et al., "Sharp minima can generalize for deep nets", arXiv 1703.04933.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.interpolate import RegularGridInterpolator
from scipy.special import stdtrit

from landscape.figures.analysis import dataset

CONFIDENCE = 0.95
RISE = 1.0
"""Nats above the minimum at which its width is taken."""
ANGLES, STEPS = 180, 500


@dataclass(frozen=True)
class Yardstick:
    """One way to measure sharpness.

    Args:
        words: What it is called in a figure.
        normalized: Whether it counts in units of the weights.
        inverse: Whether it is a width, so that one over it is a sharpness.
        place: Which of its radii is taken: from 0, the smallest, to 1, the largest; None for one without.
    """

    words: str
    normalized: bool
    inverse: bool = False
    place: float | None = None


YARDSTICKS = {
    "hessian_max": Yardstick("λ₁ of the Hessian", False),
    "hessian_trace": Yardstick("trace of the Hessian", False),
    "hessian_frobenius": Yardstick("Frobenius norm", False),
    "ggn_trace": Yardstick("trace of Gauss–Newton", False),
    "sam_sharpness": Yardstick("SAM's sharpness", False, place=0),
    "pgd_sharpness": Yardstick("largest rise", False, place=0),
    "average_sharpness": Yardstick("mean rise", False, place=1),
    "keskar_sharpness": Yardstick("Keskar's sharpness", False),
    "pac_bayes_sigma": Yardstick("1 / PAC-Bayes σ", False, inverse=True),
    "hessian_max_scaled": Yardstick("λ₁ ‖θ‖²", True),
    "pac_bayes_sigma_scaled": Yardstick("‖θ‖ / PAC-Bayes σ√D", True, inverse=True),
    "radius": Yardstick("1 / filter-normalised radius", True, inverse=True),
    "adaptive_sharpness": Yardstick("adaptive largest rise", True, place=0.5),
    "adaptive_average_sharpness": Yardstick("adaptive mean rise", True, place=1),
    "relative_flatness": Yardstick("relative flatness", True),
    "fisher_rao_norm": Yardstick("Fisher–Rao norm", True),
}
"""Raw ones, then those in units of the weights: `_scaled` in units of the length of all of them, `radius` the
`rise_radius` on the plane of filter-normalised directions. Left out: Fisher's trace, which is Gauss-Newton's for
cross-entropy, and measures that count no sharpness."""


def rise_radius(values: xr.DataArray, rise: float = RISE) -> float:
    """How far one can walk from the centre of a plane until the loss has risen by so much, the mean over directions.

    Args:
        values: Loss with dimensions `beta`, `alpha`, the minimum at (0, 0); what isn't finite has risen.
        rise: Nats.

    Returns:
        In units of the axes; infinite if the loss does not rise so much in some direction before the plane ends.
    """
    ordered = values.transpose("beta", "alpha")
    axes = [ordered[axis].values.astype(float) for axis in ("beta", "alpha")]
    heights = np.where(np.isfinite(ordered.values), ordered.values, np.finfo(float).max / 4)
    loss = RegularGridInterpolator(axes, heights)
    reach = min(min(-axis[0], axis[-1]) for axis in axes)
    lengths = np.linspace(0, reach, STEPS)
    angles = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    directions = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    above = loss(lengths[:, None, None] * directions) - loss((0.0, 0.0)) - rise
    crossed = (above >= 0).argmax(axis=0)
    if not (above >= 0).any(axis=0).all():
        return math.inf
    rays = np.arange(ANGLES)
    low, high = above[crossed - 1, rays], above[crossed, rays]
    part = low / (low - high)
    return float((lengths[crossed - 1] + part * (lengths[crossed] - lengths[crossed - 1])).mean())


def yardsticks(tree: xr.DataTree, node: str) -> xr.Dataset:
    """The value of every yardstick at every network.

    Args:
        tree: A store of the experiment `sharp_flat`.
        node: Where it is in the store.

    Returns:
        `value` and `stderr` with dimensions `yardstick`, `method`, `seed`, and for each yardstick its `rho`, NaN where
        it has none; measures that the store lacks are left out.
    """
    measures, networks = (dataset(tree, one).load() for one in (f"{node}/sharpness", node))
    surface = dataset(tree, f"{node}/surface")["loss"].load()
    norm, root = networks["weight_norm"].values, math.sqrt(networks.attrs["num_parameters"])
    rows: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}
    for name, yardstick in YARDSTICKS.items():
        stem, at, rho = name.removesuffix("_scaled"), {}, math.nan
        if name == "radius":
            rows[name] = np.array([[rise_radius(one) for one in row] for row in surface]), np.zeros_like(norm), rho
            continue
        if stem not in measures:
            continue
        if yardstick.place is not None:
            at = {"rho": round(yardstick.place * (measures.sizes["rho"] - 1))}
            rho = float(measures["rho"][at["rho"]])
        unit = np.ones_like(norm) if name == stem else root / norm if yardstick.inverse else norm**2
        rows[name] = measures[stem].isel(at).values * unit, measures[f"{stem}_stderr"].isel(at).values * unit, rho
    value, stderr, radii = (np.array(column) for column in zip(*rows.values(), strict=True))
    dims = ("yardstick", "method", "seed")
    runs = {dim: networks[dim].values for dim in dims[1:]}
    coords = {"yardstick": list(rows), "rho": ("yardstick", radii), **runs}
    return xr.Dataset({"value": (dims, value), "stderr": (dims, stderr)}, coords)


def ratios(values: xr.Dataset, ours: str = "sam", theirs: str = "sgd") -> xr.Dataset:
    """The sharpness by one method relative to that by another, with a paired interval over seeds.

    Args:
        values: From `yardsticks`.
        ours: A method.
        theirs: Another.

    Returns:
        Over `yardstick`: `ratio` for each `seed` with its `ratio_stderr`; `mean`, the geometric mean over seeds, and
        its 95 % interval `low` to `high` by Student's t on the logarithms. Below 1 ours is wider: widths are inverted.
        NaN where a value isn't positive and finite, or for the interval of one seed.
    """
    inverse = xr.DataArray([YARDSTICKS[str(name)].inverse for name in values["yardstick"].values], dims="yardstick")
    with np.errstate(invalid="ignore", divide="ignore"):
        sound = values["value"].where((values["value"] > 0) & np.isfinite(values["value"]))
        logarithm = xr.apply_ufunc(np.log, sound)
        logs = logarithm.sel({"method": ours}, drop=True) - logarithm.sel({"method": theirs}, drop=True)
        relative = values["stderr"] / sound
    logs = logs.where(~inverse, -logs)
    stderr = np.sqrt((relative.sel({"method": [ours, theirs]}) ** 2).sum("method", skipna=False))
    count = logs.sizes["seed"]
    mean = logs.mean("seed", skipna=False)
    scatter = logs.std("seed", ddof=1, skipna=False) if count > 1 else mean * np.nan
    half = (stdtrit(count - 1, (1 + CONFIDENCE) / 2) if count > 1 else np.nan) * scatter / math.sqrt(count)
    ratio = np.exp(logs)
    return xr.Dataset(
        {
            "ratio": ratio,
            "ratio_stderr": ratio * stderr,
            "mean": np.exp(mean),
            "low": np.exp(mean - half),
            "high": np.exp(mean + half),
        }
    )


@dataclass(frozen=True)
class Verdict:
    """What the yardsticks of one kind say.

    Args:
        wider: Those whose interval lies below 1.
        sharper: Those whose interval lies above 1.
        undecided: All others.
    """

    wider: tuple[str, ...]
    sharper: tuple[str, ...]
    undecided: tuple[str, ...]

    @property
    def answer(self) -> str:
        """`wider`, `sharper`, `disagree` where some say this and some that, `undecided` where less than half decide."""
        if self.wider and self.sharper:
            return "disagree"
        decided = len(self.wider) + len(self.sharper)
        if not decided or decided < len(self.undecided):
            return "undecided"
        return "wider" if self.wider else "sharper"


def verdict(found: xr.Dataset, normalized: bool) -> Verdict:
    """Judge by the intervals of one kind of yardsticks.

    Args:
        found: From `ratios`.
        normalized: Which kind.
    """
    names = [str(name) for name in found["yardstick"].values if YARDSTICKS[str(name)].normalized == normalized]
    wider = tuple(name for name in names if float(found["high"].sel(yardstick=name)) < 1)
    sharper = tuple(name for name in names if float(found["low"].sel(yardstick=name)) > 1)
    return Verdict(wider, sharper, tuple(name for name in names if name not in (*wider, *sharper)))


def called(name: str, rho: float = math.nan) -> str:
    """A yardstick in words, with its radius if it has one."""
    words = YARDSTICKS[name].words
    return words if math.isnan(rho) else f"{words}, ρ = {rho:g}"
