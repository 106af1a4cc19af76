"""Standard errors of means over random subsets, with the finite-population correction."""

import math

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.objective.objective import Objective

NUM = 200


def squares(outputs, targets):
    return (outputs[:, 0] - targets).square()


def tokens(outputs, targets):
    """Token counts that go with the values, as long texts are harder."""
    counts = 1 + (targets.abs() * 3).long()
    return (outputs[:, 0] - targets).square() * counts * counts, counts


def population(seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(NUM, generator=generator, dtype=torch.float64).exp()
    return torch.randn(NUM, 2, generator=generator, dtype=torch.float64), targets


def estimates(loss, n, repeats=600):
    """Mean and standard error on repeated random subsets, and the value on everything."""
    inputs, targets = population()
    model = nn.Linear(2, 1).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.3, -0.2]]))
        model.bias.zero_()
    whole = Objective(model, (inputs, targets), loss)
    truth = whole.evaluate(whole.theta)
    assert truth["loss_stderr"] == 0
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(repeats):
        chosen = torch.randperm(NUM, generator=generator)[:n]
        part = whole.on((inputs[chosen], targets[chosen]), population=NUM).evaluate(whole.theta)
        rows.append((part["loss"], part["loss_stderr"]))
    means, errors = torch.tensor(rows, dtype=torch.float64).T
    return truth["loss"], means, errors


@pytest.mark.parametrize("n", [60, 140])
def test_squared_standard_errors_are_unbiased(n):
    truth, means, errors = estimates(squares, n)
    spread = means.std()
    # 600 repeats: the mean is known to spread / √600, its variance to about 6 %.
    assert abs(means.mean() - truth) < 4 * spread / math.sqrt(600)
    assert errors.square().mean().sqrt().item() == pytest.approx(spread.item(), rel=0.12)
    uncorrected = errors / math.sqrt(1 - n / NUM)
    assert uncorrected.square().mean().sqrt() > 1.12 * spread


@pytest.mark.parametrize("loss", [squares, tokens])
def test_coverage(loss):
    truth, means, errors = estimates(loss, 140)
    covered = ((means - truth).abs() < 1.96 * errors).double().mean().item()
    assert 0.88 <= covered <= 0.98  # log-normal losses are skewed: a little less than 95 %


def test_ratio_of_token_sums_has_the_spread_that_it_says():
    _, means, errors = estimates(tokens, 140)
    assert errors.square().mean().sqrt().item() == pytest.approx(means.std().item(), rel=0.15)


def test_extremes():
    inputs, targets = population()
    objective = Objective(nn.Linear(2, 1).double(), (inputs, targets), squares)
    assert objective.evaluate(objective.theta)["loss_stderr"] == 0
    assert objective.on((inputs, targets), NUM).evaluate(objective.theta)["loss_stderr"] == 0
    assert math.isnan(objective.on((inputs[:1], targets[:1]), NUM).evaluate(objective.theta)["loss_stderr"])
    with pytest.raises(RequestError, match="population of 100 is smaller than the 200 samples"):
        objective.on((inputs, targets), 100).evaluate(objective.theta)
