"""Problems: network, data and loss by name."""

import json

import pytest
import torch
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.problem import Problem, find_loss
from landscape.objective.losses import mse


def absolute(outputs, targets):
    """A loss of the user's own."""
    return F.l1_loss(outputs, targets, reduction="none").mean(1)


def test_recipes_survive_json():
    problem = Problem("mlp", "digits", model_settings={"hidden": "8,8"}, label_noise=0.2, label_noise_seed=3)
    recipe = json.loads(json.dumps({"problem": problem.recipe()}))
    again = Problem.from_recipe(recipe)
    assert json.loads(json.dumps(again.recipe())) == recipe["problem"]
    assert recipe["problem"]["model_settings"]["hidden"] == [8, 8]
    assert "activation" in recipe["problem"]["model_settings"]  # complete, defaults and all


def test_data_settings_are_complete_too():
    assert Problem("mlp", "regression").recipe()["data_settings"].keys()


def test_networks_are_drawn_with_the_seed_alone():
    problem = Problem("mlp", "digits", model_settings={"hidden": (4,)})
    data = problem.load_data()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (problem.build_model(data, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_label_noise_is_reproducible():
    plain = Problem("mlp", "digits").load_data()
    noisy, again, other = (
        Problem("mlp", "digits", label_noise=0.25, label_noise_seed=seed).load_data() for seed in (0, 0, 1)
    )
    wrong = noisy.train.targets != plain.train.targets
    assert wrong.sum() == round(0.25 * len(plain.train))
    assert torch.equal(noisy.train.targets, again.train.targets)
    assert not torch.equal(noisy.train.targets, other.train.targets)
    assert torch.equal(noisy.test.targets, plain.test.targets)
    assert noisy.digest != plain.digest


def test_losses():
    classes, regression = (Problem("mlp", name).load_data() for name in ("digits", "regression"))
    assert Problem("mlp", "digits").find_loss(classes) == "cross-entropy"
    assert Problem("mlp", "regression").find_loss(regression) == "mse"
    assert Problem("mlp", "regression", loss="mse").find_loss(classes) == "mse"
    assert find_loss("landscape.objective.losses:mse") is mse


def test_bad_requests():
    with pytest.raises(RequestError, match="unknown model 'mpl': did you mean 'mlp'"):
        Problem("mpl", "digits").recipe()
    with pytest.raises(RequestError, match="unknown data set 'digit': did you mean 'digits'"):
        Problem("mlp", "digit").recipe()
    with pytest.raises(RequestError, match=r"loss 'landscape.objective.losses:IGNORED_TOKEN'"):
        find_loss("landscape.objective.losses:IGNORED_TOKEN")
    for recipe in ({}, {"problem": {"model": "mlp"}}, {"problem": {"net": 3}}, {"problem": None}):
        with pytest.raises(RequestError, match="doesn't say which network and data it belongs to"):
            Problem.from_recipe(recipe)
