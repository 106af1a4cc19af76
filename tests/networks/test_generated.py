import numpy as np
import pytest
import torch
from scipy.special import eval_legendre
from sklearn.linear_model import LogisticRegression

from landscape.networks.datasets import load_data
from landscape.networks.generated import GENERATED


@pytest.mark.parametrize("name", GENERATED)
def test_the_seed_alone_decides(name):
    before = torch.get_rng_state()
    data = load_data(name)
    assert data.digest == load_data(name, settings={"seed": 0}).digest
    assert data.digest != load_data(name, settings={"seed": 1}).digest
    assert torch.equal(before, torch.get_rng_state())
    assert data.name == name


def test_regression_is_linear():
    data = load_data("regression", settings={"noise": 0, "num_samples": 40, "num_test": 10, "num_features": 5})
    solution = torch.linalg.lstsq(data.train.inputs, data.train.targets).solution
    torch.testing.assert_close(data.test.inputs @ solution, data.test.targets)
    assert (data.input_shape, data.num_outputs, data.num_classes) == ((5,), 1, None)


def test_regression_has_its_noise():
    data = load_data("regression", settings={"noise": 0.5, "num_samples": 20_000, "num_features": 3})
    solution = torch.linalg.lstsq(data.train.inputs, data.train.targets).solution
    residual = data.train.targets - data.train.inputs @ solution
    # The standard deviation of 20,000 draws is known to 1 / sqrt(40,000) = 0.5 %.
    assert residual.std().item() == pytest.approx(0.5, rel=0.025)


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_polynomial_lies_in_legendres_basis(degree):
    data = load_data("polynomial", settings={"noise": 0, "degree": degree, "num_samples": 30})
    x, y = data.train.inputs.numpy(), data.train.targets.numpy()
    basis = np.concatenate([eval_legendre(k, x) for k in range(degree + 1)], axis=1)
    coefficients, *_ = np.linalg.lstsq(basis, y, rcond=None)
    np.testing.assert_allclose(basis @ coefficients, y, atol=1e-12)
    assert abs(coefficients[-1]) > 1e-3
    assert np.abs(x).max() <= 1


def test_shapes1d_is_hard_for_a_line_and_easy_for_a_network():
    data = load_data("shapes1d")
    assert (data.input_shape, data.num_classes, data.train.inputs.dtype) == ((1, 40), 10, torch.float32)
    assert data.train.targets.bincount(minlength=10).min() > 300
    signals, labels = data.train.inputs[:, 0].numpy(), data.train.targets.numpy()
    linear = LogisticRegression(max_iter=300).fit(signals, labels)
    assert 0.4 < linear.score(data.test.inputs[:, 0].numpy(), data.test.targets.numpy()) < 0.7
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(40, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
        )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(600):
        chosen = torch.randint(len(data.train), (128,), generator=generator)
        loss = torch.nn.functional.cross_entropy(network(data.train.inputs[chosen]), data.train.targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    accuracy = (network(data.test.inputs).argmax(1) == data.test.targets).float().mean()
    assert accuracy > 0.8
