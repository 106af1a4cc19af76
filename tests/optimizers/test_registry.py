"""Finding an optimizer by name, and what is wrong with a request for one."""

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.optimizers import registry
from landscape.optimizers.parameters import groups_of, parameters_of
from landscape.optimizers.registry import OPTIMIZERS, Entry, make_optimizer, resolve_hyperparameters


def test_texts_become_numbers():
    assert resolve_hyperparameters("sgd", {"lr": "1e-2", "nesterov": "yes", "momentum": ".5"}) == {
        "lr": 0.01,
        "momentum": 0.5,
        "nesterov": True,
        "weight_decay": 0.0,
    }
    assert make_optimizer("sgd", nn.Linear(2, 2), lr="0.3").param_groups[0]["lr"] == 0.3


def test_bad_requests():
    with pytest.raises(RequestError, match="unknown optimizer 'adma': did you mean 'adam'"):
        make_optimizer("adma", nn.Linear(2, 2))
    with pytest.raises(RequestError, match="unknown setting of optimizer 'sgd' 'momentun': did you mean 'momentum'"):
        make_optimizer("sgd", nn.Linear(2, 2), momentun=0.9)
    with pytest.raises(RequestError, match="'momentum' must be at least 0 and less than 1, got 1"):
        make_optimizer("sgd", nn.Linear(2, 2), momentum=1.0)
    with pytest.raises(RequestError, match="nesterov needs a momentum"):
        make_optimizer("sgd", nn.Linear(2, 2), nesterov=True)


def test_a_method_around_another(monkeypatch):
    """What is set as `base.lr` are the hyperparameters of the optimizer that `base` names."""

    def around(model, inner, *, base: str = "sgd"):
        return inner

    monkeypatch.setitem(registry.OPTIMIZERS, "around", Entry(around, "around another"))
    values = resolve_hyperparameters("around", {"base": "adam", "base.lr": "0.5"})
    assert values["base.lr"] == 0.5
    assert values["base.beta2"] == 0.999
    assert resolve_hyperparameters("around", values) == values
    optimizer = make_optimizer("around", nn.Linear(2, 2), **values)
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert resolve_hyperparameters("around", {"lr": "0.2"})["base.lr"] == 0.2
    with pytest.raises(RequestError, match="unknown setting of optimizer 'adam' 'momentum'"):
        resolve_hyperparameters("around", {"base": "adam", "base.momentum": 0.9})
    with pytest.raises(RequestError, match=r"unknown setting of optimizer 'around' 'momentum': .*'base\.momentum'"):
        resolve_hyperparameters("around", {"momentum": 0.9})
    with pytest.raises(RequestError, match="unknown optimizer 'adm': did you mean 'adam'"):
        resolve_hyperparameters("around", {"base": "adm"})
    with pytest.raises(RequestError, match=r"unknown setting of optimizer 'sgd' 'base\.lr'"):
        resolve_hyperparameters("sgd", {"base.lr": 0.1})


def test_parameters_of_modules_tensors_and_groups():
    layer = nn.Linear(3, 2)
    tensors = list(layer.parameters())
    for given in (
        layer,
        tensors,
        iter(tensors),
        layer.parameters(),
        [{"params": tensors}],
        [{"params": iter(tensors)}],
    ):
        assert [id(tensor) for tensor in parameters_of(given)] == [id(tensor) for tensor in tensors]
    groups = groups_of([{"params": layer.weight, "lr": 0.1}, {"params": [layer.bias]}])
    assert groups == [{"params": [layer.weight], "lr": 0.1}, {"params": [layer.bias]}]
    with pytest.raises(RequestError, match="needs its tensors under 'params', got only lr"):
        groups_of([{"lr": 0.1}])
    with pytest.raises(RequestError, match="no mixture"):
        groups_of([layer.weight, {"params": [layer.bias]}, "bias"])


def test_the_lectures_methods_are_there():
    assert {
        "gd",
        "sgd",
        "momentum",
        "nesterov",
        "adagrad",
        "adadelta",
        "rmsprop",
        "adam",
        "amsgrad",
        "adamw",
        "lbfgs",
    } <= (OPTIMIZERS.keys())
    assert {name for name, entry in OPTIMIZERS.items() if entry.full_batch} >= {"gd", "lbfgs"}
