"""What every optimizer of the registry keeps to; a newly registered one is covered at once."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from landscape.errors import RequestError
from landscape.optimizers.base import NonFiniteGradientError, OwnOptimizer
from landscape.optimizers.registry import OPTIMIZERS, make_optimizer, resolve_hyperparameters
from landscape.settings import accepts, defaults

COUPLED = {"lbfgs"}
"""Methods that step along one direction through all tensors, by a line search: no groups, and no step of length 0."""
GROUPWISE = [name for name in OPTIMIZERS if name not in COUPLED]
CHECKED = [name for name, entry in OPTIMIZERS.items() if "non_finite" in defaults(entry.build)]
SETTINGS = [(name, key) for name, entry in OPTIMIZERS.items() for key in defaults(entry.build)]
INPUTS = torch.randn(16, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = torch.randn(16, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


class Network(nn.Sequential):
    """Two layers, and a tensor that has no part in the loss."""

    def __init__(self, width=3, dtype=torch.float64, device="cpu"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))
        self.unused = nn.Parameter(torch.ones(2, 3))
        self.to(device, dtype)

    def loss(self):
        first = next(self.parameters())
        return (self(INPUTS.to(first)) - TARGETS.to(first)).square().mean()


def advance(name, network, optimizer, steps=1):
    """Make some steps; returns the gradients as the last backward pass left them."""
    seen = []

    def evaluate():
        optimizer.zero_grad()
        loss = network.loss()
        loss.backward()
        seen[:] = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
        return loss.detach()

    for _ in range(steps):
        if OPTIMIZERS[name].closure:
            optimizer.step(evaluate)
        else:
            evaluate()
            optimizer.step()
    return seen


def values(network):
    return [tensor.detach().clone() for tensor in network.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def through_a_file(state):
    """A state as a file of weights alone gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def frozen(value):
    """A nested state with its tensors as numbers, for comparison."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), value.tolist())
    if isinstance(value, dict):
        return {key: frozen(one) for key, one in value.items()}
    return [frozen(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_descends_in_place_and_leaves_gradients_and_bystanders_alone(name, dtype):
    network = Network(dtype=dtype)
    optimizer = make_optimizer(name, network)
    tensors, places = list(network.parameters()), [p.data_ptr() for p in network.parameters()]
    before, loss = values(network), network.loss().item()
    gradients = advance(name, network, optimizer, steps=20)
    assert network.loss().item() < loss
    assert all(p is q for p, q in zip(network.parameters(), tensors, strict=True))
    assert [p.data_ptr() for p in network.parameters()] == places
    assert all(p.dtype is dtype for p in tensors)
    for tensor, gradient, old in zip(tensors, gradients, before, strict=True):
        if gradient is None:
            assert tensor is network.unused
            assert tensor.grad is None
            assert torch.equal(tensor, old)
            assert not (isinstance(optimizer, OwnOptimizer) and optimizer.state.get(tensor))
        else:
            assert torch.equal(tensor.grad, gradient)
            assert not torch.equal(tensor, old)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_goes_through_a_file_to_the_same_bits(name):
    network = Network()
    optimizer = make_optimizer(name, network)
    advance(name, network, optimizer, steps=7)
    state, weights = through_a_file(optimizer.state_dict()), values(network)
    advance(name, network, optimizer, steps=6)
    again = Network(dtype=torch.float64)
    with torch.no_grad():
        for tensor, value in zip(again.parameters(), weights, strict=True):
            tensor.copy_(value)
    restored = make_optimizer(name, again)
    unchanged = frozen(state)
    restored.load_state_dict(state)
    assert frozen(restored.state_dict()["state"]) == frozen(state["state"])
    advance(name, again, restored, steps=6)
    assert same(values(again), values(network))
    assert frozen(restored.state_dict()) == frozen(optimizer.state_dict())
    assert frozen(state) == unchanged, "the loaded state was written to"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_of_other_shapes_is_refused(name):
    network, other = Network(), Network(width=5)
    optimizer = make_optimizer(name, network)
    advance(name, network, optimizer, steps=2)
    target = make_optimizer(name, other)
    before = frozen(target.state_dict())
    for state in (optimizer.state_dict(), through_a_file(optimizer.state_dict())):
        with pytest.raises(RequestError, match=r"state .*\(3, 4\)|state .*shape"):
            target.load_state_dict(state)
    assert frozen(target.state_dict()) == before
    with pytest.raises(RequestError, match=r"state .*groups"):
        make_optimizer(name, [torch.zeros(3, 4, requires_grad=True)]).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_a_state_that_torch_saved(name):
    network, plain = Network(), {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[name]
    optimizer = plain(network.parameters(), lr=0.1, **({"momentum": 0.9} if name == "sgd" else {}))
    advance(name, network, optimizer)
    make_optimizer(name, Network()).load_state_dict(optimizer.state_dict())
    with pytest.raises(RequestError, match=r"is for a tensor of shape \(3, 4\), here it has \(5, 4\)"):
        make_optimizer(name, Network(width=5)).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("name", GROUPWISE)
def test_groups_keep_their_own_rate(name):
    network = Network()
    inner, outer = list(network[0].parameters()), [*network[2].parameters(), network.unused]
    optimizer = make_optimizer(name, [{"params": inner, "lr": 1e-5}, {"params": iter(outer)}])
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates.keys() == {id(p) for p in (*inner, *outer)}
    assert all(rates[id(p)] == 1e-5 for p in inner)
    assert all(rates[id(p)] > 1e-5 for p in outer)
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if group["params"][0] is inner[0] else group["lr"]
    before = values(network)
    advance(name, network, optimizer, steps=3)
    assert same(values(network)[:2], before[:2])
    assert not same(values(network)[2:4], before[2:4])


@pytest.mark.parametrize("name", GROUPWISE)
def test_schedules_are_obeyed(name):
    network = Network()
    optimizer = make_optimizer(name, network)
    scheduler = LambdaLR(optimizer, lambda k: 1.0 if k == 0 else 0.0)
    before = values(network)
    advance(name, network, optimizer)
    moved = values(network)
    assert not same(moved[:4], before[:4])
    scheduler.step()
    advance(name, network, optimizer, steps=2)
    assert same(values(network), moved)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_without_any_gradient_does_nothing(name):
    network = Network()
    optimizer = make_optimizer(name, [network.unused])
    before = values(network)
    for _ in range(2):
        optimizer.step(*([lambda: torch.zeros(())] if OPTIMIZERS[name].closure else []))
    assert same(values(network), before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_of_another_dtype_is_refused(name):
    network = Network()
    optimizer = make_optimizer(name, network)
    network.loss().backward()
    network[0].weight.data = network[0].weight.data.float()
    with pytest.raises(RequestError, match=r"a gradient is torch.float64 on cpu, its parameter of shape \(3, 4\)"):
        optimizer.step(*([lambda: torch.zeros(())] if OPTIMIZERS[name].closure else []))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_sparse_gradient_is_refused(name):
    embedding = nn.Embedding(5, 3, sparse=True)
    optimizer = make_optimizer(name, embedding)
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(RequestError, match="a gradient is sparse: this optimizer takes dense ones"):
        optimizer.step(*([lambda: torch.zeros(())] if OPTIMIZERS[name].closure else []))


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_gradients_that_are_not_finite(name, wrong):
    network = Network()
    optimizer = make_optimizer(name, network)
    advance(name, network, optimizer, steps=2)
    before, state = values(network), copy.deepcopy(frozen(optimizer.state_dict()["state"]))

    def spoil():
        optimizer.zero_grad()
        loss = network.loss()
        loss.backward()
        network[2].bias.grad[0] = wrong
        return loss.detach()

    def step(optimizer):
        if OPTIMIZERS[name].closure:
            optimizer.step(spoil)
        else:
            spoil()
            optimizer.step()

    with pytest.raises(NonFiniteGradientError, match="a gradient isn't finite"):
        step(optimizer)
    assert same(values(network), before)
    assert frozen(optimizer.state_dict()["state"]) == state
    skipping = make_optimizer(name, network, non_finite="skip")
    skipping.load_state_dict({**skipping.state_dict(), "state": optimizer.state_dict()["state"]})
    step(skipping)
    assert same(values(network), before)
    assert frozen(skipping.state_dict()["state"]) == state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rates_that_are_not_positive(name):
    inner = defaults(OPTIMIZERS[name].build).get("base")
    for wrong in (0, -1, "0", "fast", float("nan")):
        with pytest.raises(RequestError, match=f"optimizer '{inner or name}': setting 'lr' must be"):
            make_optimizer(name, Network(), **{"base.lr" if inner else "lr": wrong})


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_wrong_hyperparameters(name, key):
    entry = OPTIMIZERS[name]
    with pytest.raises(RequestError, match=f"unknown setting of optimizer '{name}' '{key}x': did you mean '{key}'"):
        make_optimizer(name, Network(), **{f"{key}x": 1})
    words = accepts(entry.build)[key]
    for limit, wrong in (("less than 1", 1), ("less than 1", -0.1), ("at least 0", -1e-3), ("more than 0", 0)):
        if limit in words:
            with pytest.raises(RequestError, match=f"optimizer '{name}': setting '{key}' must be"):
                make_optimizer(name, Network(), **{key: wrong})
    if words.startswith("number") and key.startswith(("beta", "momentum", "gamma")):
        assert "at least 0 and less than 1" in words


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_given_to_it(name):
    for nothing in ([], nn.Tanh(), [torch.zeros(2, 2)], [{"params": []}]):
        with pytest.raises(RequestError, match="nothing to train"):
            make_optimizer(name, nothing)
    network = Network()
    network[0].weight.requires_grad_(False)
    optimizer = make_optimizer(name, network)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in network.parameters() if p is not network[0].weight}
    advance(name, network, optimizer, steps=2)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_hyperparameters_resolve_to_themselves(name):
    """A recipe holds them complete, and is read again."""
    complete = resolve_hyperparameters(name, {})
    assert resolve_hyperparameters(name, complete) == complete
    assert OPTIMIZERS[name].summary
    assert len(OPTIMIZERS[name].summary) < 90


def test_unknown_optimizers_name_the_nearest():
    with pytest.raises(RequestError, match="unknown optimizer 'adagard': did you mean 'adagrad'"):
        make_optimizer("adagard", Network())
    with pytest.raises(RequestError, match="momentum above 0; for none take optimizer 'sgd'"):
        make_optimizer("nesterov", Network(), momentum=0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gpu_follows_the_cpu(name):
    there, here = Network(device="cuda"), Network()
    for network in (there, here):
        advance(name, network, make_optimizer(name, network), steps=10)
    for a, b in zip(there.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-8, atol=1e-10)
