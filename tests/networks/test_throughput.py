"""Operations per token, counted by torch, and the device's peak."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from landscape.errors import RequestError
from landscape.networks.models import build_model
from landscape.networks.throughput import find_peak, matmul_parameters, operations_per_token

CONTEXT = 32


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gpt-nano", {"layers": 2, "width": 32, "heads": 2}),
        ("gpt-nano", {"layers": 1, "width": 32, "heads": 2, "tied": False}),
        ("gpt2-124m", {"layers": 2, "width": 32, "heads": 2, "context": CONTEXT}),
    ],
)
def test_the_formula_is_what_torch_counts(name, settings):
    """But for vectors (norms and biases), which are no matrix products and are counted in N."""
    model = build_model(name, (CONTEXT,), 60, settings)
    tokens = torch.zeros(4, CONTEXT, dtype=torch.long)
    counter = FlopCounterMode(display=False)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), counter:
        model(tokens).square().mean().backward()
    vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    expected = operations_per_token(model, CONTEXT) - 6 * vectors
    # no gradient is taken with respect to looked-up tokens, so all products have both of theirs
    assert counter.get_total_flops() / tokens.numel() == pytest.approx(expected)


def test_gpt2_counts_its_head_once_and_no_positions():
    with torch.device("meta"):
        model = build_model("gpt2-124m", (1024,), 50_257, {})
    assert matmul_parameters(model) == 124_439_808 - 1024 * 768
    assert operations_per_token(model, 1024) == 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 768 * 1024


def test_only_gpts_are_known():
    with pytest.raises(RequestError, match=r"GPTs only, not of a Linear: take the model gpt-nano"):
        operations_per_token(nn.Linear(2, 2), 8)


def test_peaks_are_those_of_half_precision():
    assert find_peak("NVIDIA H200", "bf16") == 989e12
    assert find_peak("NVIDIA H200", "float32") is None
    assert find_peak("a device of tomorrow", "bf16") is None
