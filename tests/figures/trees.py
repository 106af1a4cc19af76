"""Stores in memory, made of closed forms: what `landscape connect` and `landscape train` write, without a network.

The weight space is a plane per pair: two optima at a distance `d`, joined by a curved valley along the
fitted curve, with a ridge on the straight segment between them. Every stored number follows from `surface`.
"""

from __future__ import annotations

import itertools
import json

import numpy as np
import xarray as xr

SPLITS = ["train", "test"]
UNITS = "distance in weight space"
FLOOR = {"train": 0.012, "test": 0.31}


def surface(x, y, d, height, split, shape="bezier"):
    """A loss with a curved valley from (0, 0) to (d, 0); nats, any shape of x and y."""
    u = np.clip(x / d, -0.6, 1.6)
    parabola, roof = 2 * height * u * (1 - u), height * (1 - np.sqrt((2 * u - 1) ** 2 + 0.002))
    valley = parabola if shape == "bezier" else roof
    across = (y - valley) / (0.32 * d)
    beyond = np.maximum(0, np.maximum(-x, x - d)) / (0.22 * d)
    bowl = across**2 * (1.3 + 0.9 * across**2) + beyond**2
    ripple = 0.02 * (4 * u * (1 - u)).clip(0) ** 2
    scale = 1.0 if split == "train" else 0.85
    return FLOOR[split] + scale * (bowl + ripple)


def wells(x, y, optima, split):
    """Three separate wells in a plane; nats."""
    squares = [((x - px) ** 2 + (y - py) ** 2) / (0.34 * optima[1, 0]) ** 2 for px, py in optima]
    low = -0.35 * np.log(sum(np.exp(-s / 0.35) for s in squares))
    return FLOOR[split] + np.maximum(low, 0) ** 1.2


def error_of(loss):
    """An error in [0, 0.9] that rises with the loss."""
    return 0.9 * (1 - np.exp(-np.maximum(loss - 0.01, 0) / 1.6))


def path(curve, t, d, height):
    """Coordinates in the plane of the point at t."""
    if curve == "linear":
        return t * d, 0 * t
    if curve == "bezier":
        return d * t, 2 * height * t * (1 - t)
    return d * t, height * (1 - np.abs(2 * t - 1))


def _attach(node, name, dims, values, units=""):
    node[name] = (dims, values, {"units": units} if units else {})


def connect_tree(
    num_checkpoints=2,
    points=61,
    grid=21,
    curves=("linear", "bezier", "polyline"),
    regression=False,
    huge=False,
    planes=True,
    optima=None,
    done=None,
    splits=SPLITS,
    names=None,
):
    """What `landscape connect` of that many checkpoints stores.

    `huge` makes the corners of the planes explode and some cells NaN, as BatchNorm does; `done` leaves the
    points from that index on to do.
    """
    names = names or [f"seed{i}" for i in range(num_checkpoints)]
    pairs = list(itertools.combinations(range(num_checkpoints), 2))
    t = np.linspace(0, 1, points)
    distance = np.array([34.2 + 1.7 * p for p in range(len(pairs))])
    height = 0.58 * distance
    loss = np.full((len(pairs), len(curves), len(splits), points), np.nan)
    arc = np.full((len(pairs), len(curves), points), np.nan)
    for p, c, s in itertools.product(range(len(pairs)), range(len(curves)), range(len(splits))):
        x, y = path(curves[c], t, distance[p], height[p])
        shape = "polyline" if curves[c] == "polyline" else "bezier"
        line = surface(x, y, distance[p], height[p], splits[s], shape)
        stretch = 1 + 0.4 * np.sin(2.3 * p)
        loss[p, c, s] = line[0] + stretch * (line - line[0]) + 0.004 * (p + 1) * t
        arc[p, c] = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    status = np.ones((len(pairs), len(curves), points), np.int8)
    if done is not None:
        status[:, :, done:] = 0
        loss[:, :, :, done:] = np.nan
    ds = xr.Dataset(
        coords={
            "pair": np.arange(len(pairs)),
            "curve": list(curves),
            "split": list(splits),
            "t": t,
            "endpoint": ["start", "end"],
            "start": ("pair", [names[a] for a, _ in pairs]),
            "end": ("pair", [names[b] for _, b in pairs]),
        }
    )
    along = ("pair", "curve", "split", "t")
    _attach(ds, "loss", along, loss, "nats")
    _attach(ds, "loss_stderr", along, 0.02 + 0 * loss, "nats")
    if not regression:
        _attach(ds, "error", along, error_of(loss))
        _attach(ds, "error_stderr", along, 0.004 + 0 * loss)
    _attach(ds, "arc_length", ("pair", "curve", "t"), arc, UNITS)
    ends = loss[:, 0][:, :, [0, -1]]
    _attach(ds, "checkpoint_loss", ("pair", "split", "endpoint"), ends, "nats")
    if not regression:
        _attach(ds, "checkpoint_error", ("pair", "split", "endpoint"), error_of(ends))
    excess = loss - (loss[..., :1] * (1 - t) + loss[..., -1:] * t)
    _attach(ds, "barrier", ("pair", "curve", "split"), excess.max(-1), "nats")
    _attach(ds, "status", ("pair", "curve", "t"), status)
    nodes = {"/": xr.Dataset(attrs=root_attrs(names, done is None)), "/connect": ds}
    for curve in [c for c in curves if c != "linear"]:
        nodes[f"/connect/fit/{curve}"] = _fit(curve, len(pairs))
        if planes:
            nodes[f"/connect/plane/{curve}"] = _plane(curve, ds, distance, height, grid, huge, regression)
    if optima if optima is not None else (planes and num_checkpoints >= 3):
        nodes["/connect/plane/optima"] = _optima(distance[0], grid, splits, regression)
    return xr.DataTree.from_dict(nodes)


def _fit(curve, num_pairs):
    generator = np.random.default_rng(0)
    steps = np.arange(40)
    loss = 0.05 + 0.8 * np.exp(-steps / 8) + 0.01 * generator.random((num_pairs, 40))
    points = generator.standard_normal((num_pairs, 3, 6)).astype(np.float32)
    return xr.Dataset(
        {
            "control_points": (("pair", "point", "parameter"), points),
            "loss": (("pair", "step"), loss, {"units": "nats"}),
            "status": (("pair",), np.ones(num_pairs, np.int8)),
        },
        coords={"point": np.arange(3), "step": steps},
        attrs={"kind": curve},
    )


def _plane(curve, ds, distance, height, grid, huge, regression):
    num_pairs, t, splits = ds.sizes["pair"], ds.t.values, list(ds.split.values)
    d, h = distance.max(), height.max()
    alpha = np.linspace(-0.25 * d, 1.25 * d, grid)
    beta = np.linspace(-0.35 * h, 1.3 * h, grid)
    x, y = np.meshgrid(alpha, beta)
    loss = np.stack([[surface(x, y, distance[p], height[p], s, curve) for s in splits] for p in range(num_pairs)])
    status = np.ones((num_pairs, grid, grid), np.int8)
    if huge:
        far = (x > 1.1 * d) & (y > 0.6 * h)
        loss = np.where(far, loss * 1e6, loss)
        bad = np.zeros_like(far)
        bad[-5:-1, :4] = True
        bad[grid // 2, -3] = True
        bad[2, 2] = True
        loss = np.where(bad, np.nan, loss)
        loss[..., -1, 0] = np.inf
        status[:, bad] = 2
        status[:, -1, 0] = 2
    on = [path(curve, t, distance[p], height[p]) for p in range(num_pairs)]
    plane = xr.Dataset(
        {
            "loss": (("pair", "split", "beta", "alpha"), loss, {"units": "nats"}),
            "curve_alpha": (("pair", "t"), np.stack([a for a, _ in on]), {"units": UNITS}),
            "curve_beta": (("pair", "t"), np.stack([b for _, b in on]), {"units": UNITS}),
            "residual": (("pair", "t"), 1e-6 * np.ones((num_pairs, len(t))), {"units": UNITS}),
            "point_alpha": (("pair", "point"), np.stack([[0, k / 2, k] for k in distance])),
            "point_beta": (("pair", "point"), np.stack([[0, k, 0] for k in height])),
            "status": (("pair", "beta", "alpha"), status),
        },
        coords={
            "alpha": ("alpha", alpha, {"units": UNITS}),
            "beta": ("beta", beta, {"units": UNITS}),
            "point": np.arange(3),
        },
        attrs={"units": UNITS},
    )
    if not regression:
        plane["error"] = (plane.loss.dims, error_of(loss))
    return plane


def _optima(d, grid, splits, regression):
    points = np.array([[0, 0], [d, 0], [0.46 * d, 0.84 * d]])
    alpha = np.linspace(-0.3 * d, 1.3 * d, grid)
    beta = np.linspace(-0.3 * d, 1.14 * d, grid)
    x, y = np.meshgrid(alpha, beta)
    loss = np.stack([wells(x, y, points, s) for s in splits])
    plane = xr.Dataset(
        {
            "loss": (("split", "beta", "alpha"), loss, {"units": "nats"}),
            "point_alpha": (("point",), points[:, 0]),
            "point_beta": (("point",), points[:, 1]),
            "status": (("beta", "alpha"), np.ones((grid, grid), np.int8)),
        },
        coords={"alpha": alpha, "beta": beta, "point": np.arange(3)},
        attrs={"units": UNITS},
    )
    if not regression:
        plane["error"] = (plane.loss.dims, error_of(loss))
    return plane


def root_attrs(names=("seed0", "seed1"), complete=True, kind="connect"):
    """The root's attributes: the recipe as JSON, its hash and the environment."""
    recipe = {
        "kind": kind,
        "model": "convnet",
        "data": "fashion_mnist",
        "loss": "cross-entropy",
        "checkpoints": list(names),
        "curves": {"bezier": {"bends": 1}, "polyline": {"bends": 1}},
        "epochs": 10,
        "batch_size": 128,
        "seed": 0,
        "batchnorm": "recompute",
    }
    attrs = {
        "kind": kind,
        "recipe": json.dumps(recipe),
        "recipe_hash": "4f" * 32,
        "created": "2026-11-23T06:30:00+00:00",
        "device": "cpu",
    }
    return {**attrs, "complete": 1} if complete else attrs


def write_store(tree, path, complete=True):
    """Write such a tree as the commands do."""
    from landscape.sweeps import store

    kind = tree.attrs["kind"]
    store.create(path, json.loads(tree.attrs["recipe"]), kind=kind)
    for node in tree.subtree:
        if not node.has_data:
            continue
        ds = node.to_dataset(inherit=False)
        parents = node.to_dataset()
        variables = {
            str(name): store.Variable(tuple(map(str, v.dims)), v.dtype.name, dict(v.attrs))
            for name, v in ds.data_vars.items()
        }
        used = {str(dim) for v in ds.data_vars.values() for dim in v.dims}
        coords = {dim: parents[dim].values if dim in parents.coords else parents.sizes[dim] for dim in used}
        coords |= {str(name): (c.dims, c.values) for name, c in ds.coords.items() if name not in ds.dims}
        store.add_node(path, node.path.strip("/"), coords, variables, dict(ds.attrs))
        for name, v in ds.data_vars.items():
            store.write(path, node.path.strip("/"), str(name), v.values)
    if complete:
        store.finish(path)
    return path


def train_tree(steps=200, regression=False, test=True):
    """What `landscape train` stores."""
    step = np.arange(1, steps + 1) * 10
    splits = SPLITS if test else SPLITS[:1]
    progress = step / step[-1]
    loss = np.stack([0.02 + 2.2 * np.exp(-9 * progress), 0.30 + 2.0 * np.exp(-11 * progress)], axis=1)
    loss = loss[:, : len(splits)]
    along = ("step", "split")
    ds = xr.Dataset(
        {
            "loss": (along, loss, {"units": "nats"}),
            "learning_rate": (("step",), 0.1 * np.minimum(1, 2.02 * (1 - progress))),
            "seconds": (("step",), 0.3 * step),
            "status": (("step",), np.ones(steps, np.int8)),
        },
        coords={"step": step, "split": splits},
    )
    if not regression:
        ds["error"] = (along, error_of(loss))
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=root_attrs(kind="train")), "/train": ds})
