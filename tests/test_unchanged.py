"""No public function changes its caller's model, data, flags or random states, bit for bit."""

import random
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.backends import cuda

import landscape
from landscape.geometry.slices import Affine
from landscape.measures.registry import MEASURES, measure
from landscape.networks.datasets import as_data_set
from landscape.networks.problem import Problem
from landscape.objective.curvature import Fisher, GaussNewton, Hessian
from landscape.objective.determinism import check_deterministic
from landscape.objective.objective import Objective
from landscape.objective.sliced import SlicedObjective
from landscape.studies.surface.recipe import KINDS

PRIVATE = runpy.run_path(str(Path(__file__).parent / "objective" / "test_private.py"))
network, everything, assert_same = (PRIVATE[name] for name in ("network", "everything", "assert_same"))
SMALL = runpy.run_path(str(Path(__file__).parent / "measures" / "test_measures.py"))["SMALL"]
QUICK = {"progress": False}


def methods(objective, batch):
    """Every public method and property of an objective, by name."""
    theta = 1.1 * objective.theta
    values, counts = objective.losses(theta)
    return {
        "theta": lambda: objective.theta.add_(1),
        "layout": lambda: objective.layout,
        "num_parameters": lambda: objective.num_parameters,
        "num_samples": lambda: objective.num_samples,
        "loss": lambda: objective.loss(theta),
        "losses": lambda: objective.losses(theta),
        "per_sample": lambda: objective.per_sample(theta),
        "evaluate": lambda: objective.evaluate(theta),
        "values": lambda: objective.values(torch.stack([theta, -theta])),
        "gradient": lambda: objective.gradient(theta),
        "minibatch_gradient": lambda: objective.minibatch_gradient(theta, batch, seed=3),
        "on": lambda: objective.on(batch).evaluate(theta),
        "check": objective.check,
        "penalty": lambda: objective.penalty(theta),
        "estimate": lambda: objective.estimate(values, counts),
        "evaluation_mode": lambda: within(objective.evaluation_mode()),
    }


def within(context):
    """Enter a context and leave it."""
    with context:
        pass


METHODS = [name for name in vars(Objective) if not name.startswith("_")]


@dataclass
class Case:
    """What a call may use: a user's network, two more of the kind, data, and a folder."""

    model: nn.Module
    more: list[nn.Module]
    data: dict[str, tuple[torch.Tensor, torch.Tensor]]
    folder: Path

    @property
    def objective(self):
        return Objective(self.model, self.data["train"], weight_decay=0.1, batch_size=5)


def method(name):
    """A public method of the objective."""
    return lambda case: methods(case.objective, tuple(part[:4] for part in case.data["train"]))[name]()


def take(name):
    """A measure off the model's own weights."""

    def call(case):
        objective = case.objective
        measure(name, objective, 1.01 * objective.theta, torch.Generator().manual_seed(1), **SMALL.get(name, {}))

    return call


def multiply(operator):
    """Products with a curvature operator."""

    def call(case):
        objective = case.objective
        operator(objective, objective.theta).matmat(torch.ones(2, objective.num_parameters))

    return call


def slice_through(case):
    """The fast paths along a line."""
    objective = case.objective
    where = Affine(objective.theta, torch.ones(1, objective.num_parameters))
    SlicedObjective(objective, where.points).values(where.basis(torch.tensor([[0.0], [0.1]], dtype=torch.float64)))


def surface(kind):
    """A surface along one kind of directions."""

    def call(case):
        ends = [case.model, *case.more] if kind in ("pca", "difference") else [case.model]
        recipe = landscape.SurfaceRecipe(kind, size=(3, 3))
        landscape.surface(ends, case.folder / "s.zarr", recipe, data=case.data, **QUICK)

    return call


def connect(case):
    recipe = landscape.ConnectRecipe(("bezier", "polyline"), landscape.CurveRecipe(epochs=1), points=3, plane=3)
    landscape.connect([case.model, case.more[0]], case.folder / "c.zarr", recipe, data=case.data, **QUICK)


def sharpness(case):
    recipe = landscape.SharpnessRecipe(("hessian_max", "gradient_noise_scale"), settings={"draws": 10})
    landscape.sharpness(case.model, case.folder / "h.zarr", recipe, data=case.data, **QUICK)


def train(case):
    data = as_data_set("data", case.data, source="test")
    landscape.train(case.model, data, landscape.TrainingRecipe("adam", {"lr": 0.01}, epochs=2, batch_size=5))


def grok(case):
    recipe = landscape.GrokRecipe(steps=3, seeds=(0,), measures=("hessian_max",))
    landscape.grok(recipe, case.folder / "g.zarr", **QUICK)


def descent(case):
    problem = Problem("mlp", "shapes1d", model_settings={"hidden": (2,)})
    training = landscape.TrainingRecipe("adam", {"lr": 0.01}, epochs=None, steps=3)
    recipe = landscape.WidthRecipe(problem=problem, widths=(2,), training=training)
    landscape.descent(recipe, case.folder / "d.zarr", **QUICK)


CALLS = {
    **{f"Objective.{name}": method(name) for name in METHODS},
    **{f"measure {name}": take(name) for name in MEASURES},
    **{f"surface {kind}": surface(kind) for kind in KINDS},
    **{operator.__name__: multiply(operator) for operator in (Hessian, GaussNewton, Fisher)},
    "SlicedObjective": slice_through,
    "check_deterministic": lambda case: check_deterministic(case.objective),
    "connect": connect,
    "sharpness": sharpness,
    "train": train,
    "grok": grok,
    "descent": descent,
}
OTHERS = {
    "make_optimizer": "which is there to change them",
    **dict.fromkeys(("Affine", "Bezier", "Line", "Polyline", "load_curve"), "which take tensors"),
    **dict.fromkeys(("build_model", "load_checkpoint", "load_data", "open", "draw"), "which take no model"),
}


def states():
    """Random states and torch's switches."""
    generators = (torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state()))  # noqa: NPY002
    kernels = (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled())
    switches = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled())
    return *generators, kernels, switches, torch.is_inference_mode_enabled(), torch.get_num_threads()


@pytest.mark.parametrize("name", CALLS)
def test_nothing_of_the_callers_changes(name, tmp_path):
    generator = torch.Generator().manual_seed(4)
    data = {
        split: (torch.randn(count, 1, 6, 6, generator=generator), torch.arange(count) % 3)
        for split, count in {"train": 13, "test": 7}.items()
    }
    more = [network(), network()]
    with torch.no_grad():
        for one in more:
            for tensor in one.parameters():
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    case = Case(network(), more, data, tmp_path)
    copies = {split: tuple(part.clone() for part in pair) for split, pair in data.items()}
    before, held = states(), [everything(one) for one in (case.model, *more)]
    CALLS[name](case)
    assert states() == before
    for one, kept in zip((case.model, *more), held, strict=True):
        assert_same(kept, everything(one))
    assert all(torch.equal(part, copies[split][k]) for split, pair in data.items() for k, part in enumerate(pair))


def test_every_public_function_is_called():
    called = {name.split()[0].split(".")[0] for name in CALLS}
    public = {name for name in landscape.__all__ if not name.endswith("Recipe")}
    assert public - called - OTHERS.keys() == set()
