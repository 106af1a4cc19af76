import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.networks.models import build_model, resolve_settings
from landscape.networks.zoo.attention import CausalAttention, rms_norm, rotate
from landscape.networks.zoo.gpt import gpt2, gpt2_block, gpt_nano, modern
from landscape.optimizers.roles import QKV, roles, split_by_role

TINY = {"layers": 2, "width": 16, "heads": 2}
NAMES = ["gpt2-124m", "gpt-nano", "modern-124m"]
RESIDUAL = (".attention.projection.weight", ".mlp.projection.weight")


def tiny(name, length=6, num_tokens=11, dtype=torch.float64, **settings):
    """A small network of a preset's kind with weights large enough to matter, in evaluation mode."""
    torch.manual_seed(0)
    model = build_model(name, (length,), num_tokens, TINY | settings).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def random_tokens(batch=3, length=6, num_tokens=11):
    return torch.randint(num_tokens, (batch, length), generator=torch.Generator().manual_seed(1))


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        # The released checkpoint's: embeddings 50,257·768 + 1,024·768; in each of 12 blocks 12·768² weights, 9·768
        # biases (3 + 1 + 4 + 1) and 4·768 of two norms; 2·768 of the last norm.
        ("gpt2-124m", {}, 124_439_808),
        ("gpt2-124m", {"tied": False}, 124_439_808 + 50_257 * 768),
        # The speedrun's: one embedding and 12 blocks of 12·768².
        ("modern-124m", {}, 123_532_032),
        ("modern-124m", {"tied": False}, 123_532_032 + 50_257 * 768),
        ("gpt-nano", {}, 50_257 * 64 + 4 * 12 * 64**2),
        ("gpt-nano", {"layers": 2, "width": 128}, 50_257 * 128 + 2 * 12 * 128**2),
    ],
)
def test_parameter_counts(name, settings, expected):
    with torch.device("meta"):
        model = build_model(name, (1024,), 50_257, settings)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_the_fused_weight_is_queries_keys_and_values():
    with torch.device("meta"):
        block = modern((8,), 5).blocks[0]
    assert block.attention.qkv.weight.shape == (3 * 768, 768)
    assert {name: tuple(p.shape) for name, p in block.named_parameters()} == {
        "attention.qkv.weight": (2304, 768),
        "attention.projection.weight": (768, 768),
        "mlp.expansion.weight": (3072, 768),
        "mlp.projection.weight": (768, 3072),
    }


# --------------------------------------------------------------------------------------------------- initialisation


def test_gpt2_begins_as_published():
    torch.manual_seed(0)
    model = gpt2((32,), 500, layers=3, heads=4, width=128)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            expected = 0.02 / math.sqrt(6) if name.endswith(RESIDUAL) else 0.02
            assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.02), (
                name
            )  # 128² numbers: 0.6 % is 1 sigma


def test_the_modern_projections_begin_at_zero():
    torch.manual_seed(0)
    model = gpt_nano((32,), 100, init=0.03)
    for name, parameter in model.named_parameters():
        if name.endswith(RESIDUAL):
            assert not parameter.any(), name
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.03, rel=0.05), name
    x = normal(2, 5, 64).float()
    assert torch.equal(model.blocks[0](x), x)


@pytest.mark.parametrize("name", NAMES)
def test_the_head_is_tied(name):
    model = build_model(name, (6,), 11, TINY)
    assert model.head.weight is model.embedding.weight
    assert "head.weight" not in dict(model.named_parameters())
    free = build_model(name, (6,), 11, TINY | {"tied": "no"})
    assert free.head.weight is not free.embedding.weight
    assert free.head.weight.shape == free.embedding.weight.shape


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    model = tiny(name).train()
    logits = model(random_tokens())
    assert logits.shape == (3, 6, 11)
    logits.square().sum().backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_from_the_callers_generator_alone(name):
    def weights(seed):
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_model(name, (6,), 11, TINY).parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


# --------------------------------------------------------------------------------------------------- attention


@pytest.mark.parametrize("name", NAMES)
def test_no_token_sees_a_later_one(name):
    model, before = tiny(name), random_tokens()
    logits = model(before)
    for position in range(6):
        after = before.clone()
        after[:, position] = (after[:, position] + 1) % 11
        changed = (model(after) - logits).abs().amax(dim=(0, 2)) > 1e-12
        assert changed.tolist() == [k >= position for k in range(6)]


@pytest.mark.parametrize("name", NAMES)
def test_a_shorter_window_has_the_same_logits(name):
    model, tokens = tiny(name), random_tokens()
    torch.testing.assert_close(model(tokens[:, :3]), model(tokens)[:, :3], rtol=0, atol=1e-12)


def test_rotated_products_depend_on_the_distance_alone():
    query, key = normal(1, 8), normal(2, 8)[1:]
    length = 40
    products = rotate(query.expand(length, 8)) @ rotate(key.expand(length, 8)).T
    for distance in range(-length + 1, length):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-12)
    assert float((products[0] - products[0, 0]).abs().max()) > 0.1  # and it does depend on it


def test_a_rotation_is_its_definition():
    x = normal(3, 5, 8)
    turned = rotate(x)
    for position in range(5):
        for pair in range(4):
            angle = position * 10_000.0 ** (-2 * pair / 8)
            z = torch.complex(x[:, position, pair], x[:, position, pair + 4]) * complex(
                math.cos(angle), math.sin(angle)
            )
            torch.testing.assert_close(turned[:, position, pair], z.real, rtol=0, atol=1e-14)
            torch.testing.assert_close(turned[:, position, pair + 4], z.imag, rtol=0, atol=1e-14)
    assert rotate(x.bfloat16()).dtype == torch.bfloat16


def test_rms_norm_is_its_formula():
    x = normal(4, 7)
    torch.testing.assert_close(rms_norm(x), x / x.square().mean(-1, keepdim=True).sqrt())


def test_qk_norm_makes_attention_blind_to_the_size_of_queries_and_keys():
    x = normal(2, 5, 16)
    for rotary in (True, False):
        torch.manual_seed(0)
        attention = CausalAttention(16, 2, bias=False, rotary=rotary).double()
        before = attention(x)
        with torch.no_grad():
            attention.qkv.weight[:16] *= 7
            attention.qkv.weight[16:32] *= 0.3
        assert torch.allclose(attention(x), before, rtol=0, atol=1e-12) == rotary


def test_rotary_attention_is_its_formula():
    attention, x = CausalAttention(16, 2, bias=False, rotary=True).double(), normal(2, 5, 16)
    queries, keys, values = attention.qkv(x).chunk(3, dim=-1)
    heads = []
    for part in (slice(0, 8), slice(8, 16)):
        q, k = (rotate(rms_norm(z[..., part])) for z in (queries, keys))
        scores = q @ k.mT / math.sqrt(8) + torch.full((5, 5), -math.inf, dtype=torch.float64).triu(1)
        heads.append(scores.softmax(-1) @ values[..., part])
    torch.testing.assert_close(attention(x), torch.cat(heads, -1) @ attention.projection.weight.T)


def test_second_derivatives_without_the_fused_kernels():
    model, tokens = tiny("gpt-nano"), random_tokens()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        value = model(tokens).square().sum()
        (gradient,) = torch.autograd.grad(value, model.blocks[0].attention.qkv.weight, create_graph=True)
        gradient.square().sum().backward()
    assert model.blocks[0].attention.qkv.weight.grad.isfinite().all()


# ------------------------------------------------------------------------------------------------- GPT-2 written out


def layer_norm(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * norm["weight"] + norm["bias"]


def linear(x, layer):
    return x @ layer["weight"].T + layer["bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gpt2_block_in_numpy(x, block, heads):
    """GPT-2's block as its authors' code computes it, one sample and one head at a time."""
    length, width = x.shape
    normed = layer_norm(x, block["norm1"])
    queries, keys, values = np.split(linear(normed, block["attention.qkv"]), 3, axis=-1)
    outputs = np.zeros_like(x)
    size = width // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(length):
            scores = np.array([queries[i, part] @ keys[j, part] for j in range(i + 1)]) / np.sqrt(size)
            weights = np.exp(scores - scores.max())
            outputs[i, part] = weights / weights.sum() @ values[: i + 1, part]
    x = x + linear(outputs, block["attention.projection"])
    hidden = gelu(linear(layer_norm(x, block["norm2"]), block["mlp.expansion"]))
    return x + linear(hidden, block["mlp.projection"])


def arrays(module):
    """Parameters as arrays: `{layer: {"weight": …, "bias": …}}`."""
    layers = {}
    for name, parameter in module.named_parameters():
        layer, _, kind = name.rpartition(".")
        layers.setdefault(layer, {})[kind] = parameter.detach().numpy()
    return layers


def test_gpt2s_block_is_numpys():
    torch.manual_seed(0)
    block = gpt2_block(12, 3).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = normal(2, 5, 12)
    expected = np.stack([gpt2_block_in_numpy(sample, arrays(block), 3) for sample in x.numpy()])
    np.testing.assert_allclose(block(x).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_gpt2_is_numpys():
    model, tokens = tiny("gpt2-124m", context=9), random_tokens()
    weights = arrays(model)
    for sample, logits in zip(tokens.numpy(), model(tokens).detach().numpy(), strict=True):
        x = weights["embedding"]["weight"][sample] + weights["positions"]["weight"][:6]
        for block in model.blocks:
            x = gpt2_block_in_numpy(x, arrays(block), 2)
        expected = layer_norm(x, weights["norm"]) @ weights["embedding"]["weight"].T
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-11)


def test_the_modern_gpt_is_its_formula():
    model, tokens = tiny("modern-124m"), random_tokens()
    x = rms_norm(model.embedding(tokens))
    for block in model.blocks:
        x = x + block.attention(rms_norm(x))
        hidden = (rms_norm(x) @ block.mlp.expansion.weight.T).clamp(min=0) ** 2
        x = x + hidden @ block.mlp.projection.weight.T
    torch.testing.assert_close(model(tokens), rms_norm(x) @ model.embedding.weight.T)


def test_dropout_acts_in_training_only():
    model, tokens = tiny("gpt2-124m", dropout=0.5), random_tokens()
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


# ----------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        ("gpt-nano", (1, 8, 8), {}, r"takes windows of tokens, but a sample has shape \(1, 8, 8\).*--data kjv"),
        ("gpt-nano", (8,), {"heads": 3}, "heads=3 must divide width=64 into even parts: take heads of 1, 2, 4, 8"),
        ("gpt2-124m", (8,), {"width": 64}, "heads=12 must divide width=64 into parts: take heads of 1, 2, 4, 8, 16"),
        ("gpt-nano", (8,), {"width": 7, "heads": 1}, "take heads of another width"),
        ("gpt2-124m", (1025,), {}, "1024 positions, but a window of the data has 1025 tokens: set context=1025"),
        ("gpt-nano", (8,), {"context": 9}, "unknown setting"),
        ("gpt-nano", (8,), {"layers": 0}, "at least 1"),
        ("gpt-nano", (8,), {"init": 0}, "more than 0"),
        ("gpt-nan", (8,), {}, "did you mean 'gpt-nano'"),
    ],
)
def test_wrong_requests_are_one_line(name, shape, settings, message):
    with pytest.raises(RequestError, match=message) as caught:
        build_model(name, shape, 11, settings)
    assert len(str(caught.value).splitlines()) == 1


def test_resolved_settings_are_complete():
    assert resolve_settings("gpt-nano", {"layers": "2"}) == {
        "layers": 2,
        "heads": 4,
        "width": 64,
        "tied": True,
        "init": 0.07,
    }


# ------------------------------------------------------------------------------------------- what optimizers see


@pytest.mark.parametrize("name", NAMES)
def test_optimizers_know_the_roles(name):
    """The fused weight is recognised by its name, the tied weight as a head."""
    model = build_model(name, (6,), 11, TINY)
    found = roles(model)
    assert found["embedding.weight"] == "head"
    assert found["blocks.0.attention.qkv.weight"] == found["blocks.1.mlp.projection.weight"] == "hidden"
    assert roles(build_model(name, (6,), 11, TINY | {"tied": False}))["head.weight"] == "head"
    groups = split_by_role(model, {"hidden": {}, "head": {}, "vector": {}, "embedding": {}}, qkv=QKV)
    split = [path for group in groups if group.get("parts") == 3 for path, _ in group["params"]]
    assert split == [f"blocks.{k}.attention.qkv.weight" for k in range(2)]
