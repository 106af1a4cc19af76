"""Losses and metrics, per sample."""

import pytest
import torch
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.objective.losses import (
    cross_entropy,
    error,
    logits,
    mean,
    mse,
    per_sample,
    resolve_loss,
    stablemax_cross_entropy,
)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_cross_entropy_of_classes():
    outputs, targets = normal(5, 3), torch.tensor([0, 2, 1, 1, 0])
    expected = torch.stack([outputs[i].logsumexp(0) - outputs[i, t] for i, t in enumerate(targets)])
    torch.testing.assert_close(cross_entropy(outputs, targets), expected)
    assert error(outputs, targets).tolist() == (outputs.argmax(1) != targets).double().tolist()


def test_cross_entropy_of_tokens_leaves_out_the_ignored():
    outputs, targets = normal(2, 4, 3), torch.tensor([[0, -100, 2, 1], [-100] * 4])
    values, counts = cross_entropy(outputs, targets)
    assert counts.tolist() == [3, 0]
    kept = targets[0] != -100
    assert values[0].item() == pytest.approx(F.cross_entropy(outputs[0, kept], targets[0, kept]).item() * 3)
    assert values[1] == 0
    wrong, counts = error(outputs, targets)
    assert counts.tolist() == [3, 0]
    assert wrong.tolist() == [(outputs[0].argmax(-1) != targets[0])[kept].sum().item(), 0]


def test_stablemax_is_its_formula():
    outputs, targets = 3 * normal(50, 7), torch.arange(50) % 7
    scores = torch.tensor([[z + 1 if z >= 0 else 1 / (1 - z) for z in row] for row in outputs.tolist()]).double()
    expected = -(scores / scores.sum(1, keepdim=True)).gather(1, targets[:, None]).log()[:, 0]
    torch.testing.assert_close(stablemax_cross_entropy(outputs, targets), expected, rtol=1e-6, atol=1e-6)
    assert torch.autograd.gradcheck(stablemax_cross_entropy, (outputs.requires_grad_(), targets))


def test_stablemax_never_collapses():
    outputs, targets = torch.tensor([[1e6, -1e6, 0.0]], requires_grad=True), torch.tensor([0])
    assert cross_entropy(outputs, targets).item() == 0
    loss = stablemax_cross_entropy(outputs, targets)
    assert loss.item() == pytest.approx((1 + 1e-6) / 1e6, rel=1e-5)
    loss.sum().backward()
    assert outputs.grad[0, 0] < 0 < outputs.grad[0, 2]
    zeros = torch.zeros(1, 3, requires_grad=True)  # a head that begins at zero must learn
    stablemax_cross_entropy(zeros, targets).sum().backward()
    torch.testing.assert_close(zeros.grad, torch.tensor([[-2 / 3, 1 / 3, 1 / 3]]))


def test_stablemax_of_tokens_leaves_out_the_ignored():
    outputs, targets = normal(2, 4, 3), torch.tensor([[0, -100, 2, 1], [-100] * 4])
    values, counts = stablemax_cross_entropy(outputs, targets)
    assert counts.tolist() == [3, 0]
    kept = targets[0] != -100
    torch.testing.assert_close(values[0], stablemax_cross_entropy(outputs[0, kept], targets[0, kept]).sum())
    assert values[1] == 0


@pytest.mark.parametrize(
    ("outputs", "targets"), [((4,), (4,)), ((4, 1), (4,)), ((4,), (4, 1)), ((4, 6), (4, 2, 3)), ((4, 2, 1), (4, 2))]
)
def test_mse_of_shapes_that_mean_the_same(outputs, targets):
    a, b = normal(*outputs), normal(*targets) + 1
    values = mse(a, b)
    assert values.shape == (4,)
    torch.testing.assert_close(values, (a.reshape(4, -1) - b.reshape(4, -1)).square().mean(1))


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((4, 2), (4,)), ((4, 2, 3), (4, 3, 2)), ((4, 2), (8,)), ((4, 1), (3, 1)), ((4, 6), (2, 12))],
)
def test_mse_never_broadcasts_or_reorders(outputs, targets):
    with pytest.raises(RequestError, match="mse compares equal shapes: outputs"):
        mse(normal(*outputs), normal(*targets))


def test_mean_over_samples_and_tokens():
    values = torch.tensor([1.0, 2.0, 6.0])
    assert mean(values, None) == 3
    assert mean(values, torch.tensor([1, 1, 4])) == 1.5


def test_logits_of_outputs():
    tensor = torch.ones(2)
    assert logits(tensor) is tensor
    assert logits({"logits": tensor, "loss": 3}) is tensor
    assert logits(type("Output", (), {"logits": tensor})()) is tensor
    assert logits((tensor,))[0] is tensor


def test_losses_by_name():
    assert resolve_loss("cross-entropy") == (cross_entropy, {"error": error})
    assert resolve_loss("mse") == (mse, {})
    assert resolve_loss(mse, {"error": error}) == (mse, {"error": error})
    with pytest.raises(RequestError, match=r"unknown loss 'mses': did you mean 'mse'"):
        resolve_loss("mses")


def test_errors_of_the_loss_itself_say_what_went_in():
    with pytest.raises(RequestError, match=r"the loss can't take the model's outputs \(3, 2\) with targets \(4,\)"):
        per_sample(cross_entropy, torch.zeros(3, 2), torch.zeros(4, dtype=torch.long), 4, "loss")


def test_square_is_the_squared_distance_from_one_hot_labels():
    outputs = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 2, 1, 1, 0])
    one_hot = torch.eye(3, dtype=torch.float64)[targets]
    loss, metrics = resolve_loss("square")
    torch.testing.assert_close(loss(outputs, targets), mse(outputs, one_hot))
    assert list(metrics) == ["error"]
