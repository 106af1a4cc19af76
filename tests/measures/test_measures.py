"""Every measure against closed forms and dense matrices, its invariances, and what it leaves alone."""

import contextlib
import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.linalg.norms import Lp
from landscape.measures.registry import MEASURES, find_measure, measure, resolve_measure
from landscape.objective.objective import Objective
from landscape.testing import LinearRegression

SMALL = {
    "hessian_density": {"steps": 6, "points": 50},
    "average_sharpness": {"pairs": 3},
    "adaptive_average_sharpness": {"pairs": 3},
    "pac_bayes_sigma": {"draws": 3},
    "gradient_noise_scale": {"draws": 10},
    "pgd_sharpness": {"steps": 3},
    "adaptive_sharpness": {"steps": 3},
    "keskar_sharpness": {"steps": 3},
    "sam_bound": {"steps": 3},
    "local_learning_coefficient": {"chains": 2, "draws": 4, "burn_in": 2},
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def linear():
    """Least squares with its objective and a point off the minimum."""
    problem = LinearRegression.random(40, 6, seeded(0))
    objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse")
    return problem, objective, torch.randn(6, generator=seeded(1), dtype=torch.float64)


def classifier(seed=0, norm=False):
    torch.manual_seed(seed)
    between = [nn.BatchNorm1d(7)] if norm else []
    model = nn.Sequential(nn.Linear(5, 7), *between, nn.ReLU(), nn.Dropout(0.3), nn.Linear(7, 3)).double()
    data = torch.randn(37, 5, dtype=torch.float64), torch.randint(3, (37,))
    return model, data


def dense(objective, theta):
    """Hessian, per-sample gradients and outputs' Jacobians by plain autograd."""
    model = copy.deepcopy(objective.module.module)
    inputs, targets = objective.samples.inputs, objective.samples.targets

    def outputs(vector, index=slice(None)):
        return torch.func.functional_call(model, objective.layout.named(vector), inputs[index])

    def loss(vector, index=slice(None)):
        return F.cross_entropy(outputs(vector, index), targets[index])

    def gradient(i):
        place = theta.clone().requires_grad_()
        return torch.autograd.grad(loss(place, slice(i, i + 1)), place)[0]

    hessian = torch.autograd.functional.hessian(loss, theta)
    gradients = torch.stack([gradient(i) for i in range(len(targets))])
    jacobian = torch.autograd.functional.jacobian(outputs, theta)
    chance = outputs(theta).softmax(-1)
    metric = torch.diag_embed(chance) - chance[:, :, None] * chance[:, None, :]
    fisher = torch.einsum("nad,nab,nbe->de", jacobian, metric, jacobian) / len(targets)
    return hessian, gradients, fisher


@pytest.fixture(scope="module")
def net():
    model, data = classifier()
    objective = Objective(model, data, batch_size=10)
    return objective, *dense(objective, objective.theta)


def value(name, objective, theta=None, seed=0, **settings):
    return measure(name, objective, theta, seeded(seed), **settings).value


class TestQuadratic:
    def test_sam(self, linear):
        problem, objective, theta = linear
        g, hessian = problem.gradient(theta), problem.hessian()
        step = 0.3 * g / g.norm()
        expected = float(g @ step + step @ hessian @ step / 2)
        assert value("sam_sharpness", objective, theta, rho=(0.3,)) == pytest.approx([expected])

    @pytest.mark.parametrize("p", [1, 1.5, 2, 3, "inf"])
    def test_worst_case_is_no_less_than_one_step_or_chance(self, linear, p):
        _, objective, theta = linear
        rhos = (0.1, 1.0)
        one, many = (value(name, objective, theta, rho=rhos, p=p) for name in ("sam_sharpness", "pgd_sharpness"))
        assert (many >= one).all()
        norm, own = Lp(float(p)), objective.loss(theta)
        for seed in range(50):
            step = torch.randn(6, generator=seeded(seed), dtype=torch.float64)
            for rho, found in zip(rhos, many, strict=True):
                assert objective.loss(theta + rho * step / norm.norm(step)) - own <= found

    def test_worst_case_at_the_minimum_follows_the_top_eigenvector(self, linear):
        problem, objective, _ = linear
        top = torch.linalg.eigvalsh(problem.hessian())[-1]
        found = value("pgd_sharpness", objective, problem.minimum(), rho=(0.5,), steps=200, restarts=2)
        assert found == pytest.approx([0.125 * float(top)], rel=1e-3)

    def test_bound_is_the_worst_loss_and_grows_with_rho(self, linear):
        _, objective, theta = linear
        settings = {"rho": (1.0, 0.1, 0.5)}
        bound = value("sam_bound", objective, theta, **settings)
        assert bound == pytest.approx(objective.loss(theta) + value("pgd_sharpness", objective, theta, **settings))
        assert bound[1] < bound[2] < bound[0]

    def test_keskar(self, linear):
        _, objective, theta = linear
        own, worst = objective.loss(theta), -math.inf
        for signs in torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 6):
            worst = max(worst, objective.loss(theta + 0.05 * (theta.abs() + 1) * signs))
        expected = 100 * (worst - own) / (1 + own)
        assert value("keskar_sharpness", objective, theta, epsilon=0.05) == pytest.approx(expected)

    def test_average(self, linear):
        problem, objective, theta = linear
        found = measure("average_sharpness", objective, theta, rho=(0.3,), pairs=400)
        expected = 0.09 / 12 * float(problem.hessian().trace())
        assert abs(found.value[0] - expected) < 4 * found.stderr[0]
        assert found.stderr[0] < 0.1 * expected

    def test_pac_bayes(self, linear):
        problem, objective, _ = linear
        found = measure("pac_bayes_sigma", objective, problem.minimum(), increase=0.2, draws=300)
        expected = math.sqrt(0.4 / float(problem.hessian().trace()))
        assert abs(float(found.value) - expected) < 4 * float(found.stderr)

    def test_noise_scale(self, linear):
        problem, objective, theta = linear
        each = 2 * (problem.inputs @ theta - problem.targets[:, 0])[:, None] * problem.inputs
        mean = each.mean(0)
        expected = float((each - mean).square().sum(1).mean() / mean.square().sum())
        found = measure("gradient_noise_scale", objective, theta)
        assert (float(found.value), float(found.stderr)) == (pytest.approx(expected), 0)

    @pytest.mark.parametrize(
        ("name", "settings"),
        [
            ("average_sharpness", {"rho": (0.3,), "pairs": 40}),
            ("adaptive_average_sharpness", {"rho": (0.3,), "pairs": 40}),
            ("pac_bayes_sigma", {"increase": 0.2, "draws": 20}),
            ("gradient_noise_scale", {"draws": 200}),
        ],
    )
    def test_standard_errors_hold(self, name, settings):
        problem = LinearRegression.random(400, 6, seeded(0))
        objective = Objective(problem.model(), (problem.inputs, problem.targets), "mse", batch_size=400)
        theta = torch.randn(6, generator=seeded(1), dtype=torch.float64)
        theta = problem.minimum() + 0.3 * theta
        if name == "average_sharpness":
            truth = 0.09 / 12 * float(problem.hessian().trace())
        elif name == "adaptive_average_sharpness":
            truth = 0.09 / 12 * float(theta.square() @ problem.hessian().diagonal())
        elif name == "pac_bayes_sigma":
            theta, truth = problem.minimum(), math.sqrt(0.4 / float(problem.hessian().trace()))
        else:
            truth = float(measure(name, objective, theta).value)
        held = 0
        for seed in range(200):
            found = measure(name, objective, theta, seeded(seed), checked=True, **settings)
            held += bool((abs(found.value - truth) <= 1.96 * found.stderr).all())
        assert 180 <= held <= 198


class TestDense:
    def test_eigenvalues(self, net):
        objective, hessian, *_ = net
        expected = torch.linalg.eigvalsh(hessian).flip(0)
        found = measure("hessian_top", objective, k=4, tolerance=1e-8)
        assert found.value == pytest.approx(expected[:4].numpy(), rel=1e-6)
        assert (found.more["residual"] < 1e-8).all()
        assert found.more["ratio"] == pytest.approx(float(expected[0] / expected[3]), rel=1e-6)
        assert value("hessian_max", objective) == pytest.approx(float(expected[0]), rel=1e-4)

    def test_traces(self, net):
        objective, hessian, gradients, fisher = net
        empirical = gradients.square().sum(1).mean()
        for name, expected, settings in [
            ("hessian_trace", hessian.trace(), {}),
            ("hessian_frobenius", hessian.norm(), {}),
            ("ggn_trace", fisher.trace(), {}),
            ("fisher_trace", fisher.trace(), {}),
            ("fisher_trace", empirical, {"kind": "empirical"}),
        ]:
            found = measure(name, objective, **settings)
            assert abs(float(found.value - float(expected))) <= 4 * float(found.stderr) + 1e-9 * float(expected), name

    @pytest.mark.slow
    def test_frobenius_norm_s_intervals_hold(self, net):
        objective, hessian, *_ = net
        held = 0
        for seed in range(200):
            found = measure("hessian_frobenius", objective, None, seeded(seed), checked=True, relative_error=0.1)
            assert found.stderr > 0
            held += abs(float(found.value) - float(hessian.norm())) <= 1.96 * float(found.stderr)
        assert 180 <= held <= 198

    def test_density_has_the_spectrum_s_mean(self, net):
        objective, hessian, *_ = net
        found = measure("hessian_density", objective, probes=60, steps=66)
        grid = found.coords["eigenvalue"]
        mass = (found.value * (grid[1] - grid[0])).sum()
        mean = (found.value * grid * (grid[1] - grid[0])).sum()
        assert mass == pytest.approx(1, abs=1e-3)
        assert mean == pytest.approx(float(hessian.trace()) / len(hessian), rel=0.2)

    def test_relative_flatness(self, net):
        objective, hessian, *_ = net
        weights = objective.layout.named(objective.theta)["3.weight"]
        block = hessian[42:63, 42:63].view(3, 7, 3, 7)
        expected = torch.einsum("si,ti,sjtj->", weights, weights, block)
        found = measure("relative_flatness", objective, relative_error=1e-3)
        assert abs(float(found.value) - float(expected)) <= 4 * float(found.stderr) + 1e-9

    def test_fisher_rao(self, net):
        objective, _, _, fisher = net
        theta = objective.theta
        assert value("fisher_rao_norm", objective) == pytest.approx(math.sqrt(float(theta @ fisher @ theta)))

    def test_noise_scale(self, net):
        objective, _, gradients, _ = net
        mean = gradients.mean(0)
        expected = float((gradients - mean).square().sum(1).mean() / mean.square().sum())
        assert value("gradient_noise_scale", objective) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name",
    ["relative_flatness", "fisher_rao_norm", "adaptive_sharpness", "adaptive_average_sharpness"],
)
def test_rescaled_relu_layers_measure_the_same(name):
    model, data = classifier()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight *= 5
        other[0].bias *= 5
        other[3].weight /= 5
    first, second = (value(name, Objective(m, data), **SMALL.get(name, {})) for m in (model, other))
    assert second == pytest.approx(first, rel=1e-6)
    plain = [value("pgd_sharpness", Objective(m, data), rho=(0.1,)) for m in (model, other)]
    assert plain[1] != pytest.approx(plain[0], rel=0.1)


@pytest.mark.parametrize("name", MEASURES)
def test_leaves_model_randomness_and_flags_alone(name):
    model, data = classifier(norm=True)
    model.train()
    model[1].eval()
    next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    flags = [(part.training, [p.requires_grad for p in part.parameters()]) for part in model.modules()]
    state = torch.get_rng_state()
    first = measure(name, Objective(model, data), **SMALL.get(name, {}))
    assert torch.equal(torch.get_rng_state(), state)
    assert flags == [(part.training, [p.requires_grad for p in part.parameters()]) for part in model.modules()]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.rand(3)
    again = measure(name, Objective(model, data), **SMALL.get(name, {}))
    assert (first.value == again.value).all()
    assert (first.stderr == again.stderr).all()
    assert first.value.ndim == first.stderr.ndim == len(MEASURES[name].dims)
    assert {key: array.ndim for key, array in first.more.items()} == {
        key: len(dims) for key, dims in MEASURES[name].more.items()
    }


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 9)

    def forward(self, tokens):
        return self.head(self.embed(tokens))


@pytest.mark.parametrize("name", MEASURES)
def test_integer_inputs_and_token_losses(name):
    torch.manual_seed(0)
    tokens = torch.randint(9, (12, 4))
    found = measure(name, Objective(Words(), (tokens, tokens.roll(1, 0))), **SMALL.get(name, {}))
    assert not bool(torch.from_numpy(found.value).isnan().any())


@pytest.mark.parametrize("name", MEASURES)
def test_a_journal_gives_the_same_bits(name):
    """A measure killed at any moment goes on from what its journal holds."""
    model, data = classifier()
    kept: list[dict] = []

    def replaying(limit):
        calls = iter(range(10**6))

        def journal(compute):
            number = next(calls)
            if number >= limit:
                raise KeyboardInterrupt
            if number == len(kept):
                kept.append({key: tensor.clone() for key, tensor in compute().items()})
            return kept[number]

        return journal

    whole = measure(name, Objective(model, data), **SMALL.get(name, {}))
    with pytest.raises(KeyboardInterrupt):
        measure(name, Objective(model, data), journal=replaying(0), **SMALL.get(name, {}))
    with contextlib.suppress(KeyboardInterrupt):
        measure(name, Objective(model, data), journal=replaying(2), **SMALL.get(name, {}))
    resumed = measure(name, Objective(model, data), journal=replaying(10**6), **SMALL.get(name, {}))
    assert (resumed.value == whole.value).all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hesian_max", {}, "unknown measure 'hesian_max'.*hessian_max"),
        ("sam_sharpness", {"rho": (0.0,)}, "rho.*more than 0"),
        ("sam_sharpness", {"rho": ()}, "at least one radius"),
        ("pgd_sharpness", {"p": 0.5}, "at least 1"),
        ("hessian_top", {"k": 67}, "67 eigenvalues.*66 parameters"),
        ("relative_flatness", {"layer": "3.weigt"}, "3.weight"),
        ("average_sharpness", {"pairs": 1}, "at least 2"),
    ],
)
def test_wrong_requests(name, settings, message):
    model, data = classifier()
    with pytest.raises(RequestError, match=message):
        measure(name, Objective(model, data), **settings)


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x) + torch.randn(x.shape[0], 1)


def test_a_random_model_is_refused():
    with pytest.raises(RequestError, match="not deterministic"):
        measure("sam_sharpness", Objective(Noisy(3, 2), (torch.randn(8, 3), torch.randint(2, (8,)))))


def test_every_measure_says_what_it_is():
    for name, entry in MEASURES.items():
        assert find_measure(name).function.__name__ == name
        assert entry.words
        assert entry.units
        assert resolve_measure(name) is not None
