"""theta and the tensors it is made of."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from landscape.errors import RequestError
from landscape.objective.parameters import Layout

shapes = st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=5)


@given(shapes)
def test_flatten_and_split_undo_each_other(shapes):
    layout = Layout(tuple(map(str, range(len(shapes)))), tuple(map(torch.Size, shapes)))
    tensors = [torch.randn(shape) for shape in layout.shapes]
    theta = layout.flatten(tensors)
    assert theta.shape == (layout.num_parameters,) == (sum(layout.sizes),)
    for tensor, piece in zip(tensors, layout.split(theta), strict=True):
        assert torch.equal(tensor, piece)
    assert torch.equal(layout.flatten(layout.named(theta)), theta)


def test_layout_of_a_module():
    layout = Layout.of(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))
    assert layout.names == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert layout.shapes == ((2, 3), (2,), (2,), (2,))
    assert Layout.of(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), r"\.weight$").names == ("0.weight", "1.weight")


def test_split_gives_views():
    layout = Layout.of(nn.Linear(2, 2))
    theta = torch.zeros(6)
    layout.split(theta)[1].fill_(1)
    assert theta.tolist() == [0, 0, 0, 0, 1, 1]


def test_flatten_copies():
    layer = nn.Linear(2, 2)
    theta = Layout.of(layer).flatten(layer.parameters())
    assert not theta.requires_grad
    theta.zero_()
    assert layer.weight.abs().sum() > 0


def test_bad_layouts():
    with pytest.raises(RequestError, match="has no parameters"):
        Layout.of(nn.ReLU())
    with pytest.raises(RequestError, match="matches none of: weight, bias"):
        Layout.of(nn.Linear(2, 2), "embed")
    with pytest.raises(RequestError, match=r"expected theta of shape \(6,\), got \(2, 3\)"):
        Layout.of(nn.Linear(2, 2)).split(torch.zeros(2, 3))
