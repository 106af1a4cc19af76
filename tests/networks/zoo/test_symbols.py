import pytest
import torch
from torch.nn import functional as F

from landscape.errors import RequestError
from landscape.networks.models import MODELS, build_model
from landscape.networks.zoo.transformer import Transformer
from landscape.objective.curvature import Hessian
from landscape.objective.objective import Objective

SYMBOLS = [name for name, entry in MODELS.items() if entry.symbols]
SMALL = {
    "quadratic": {"width": 8},
    "embedding-mlp": {"width": 8, "hidden": (8,)},
    "transformer": {"width": 8},
    "transformer-nanda": {"width": 8},
    "transformer-power": {"width": 8},
}


def built(name, shape=(2,), outputs=5, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(name, shape, outputs, {**SMALL[name], **settings}).double()


def some(count=6, length=2, outputs=5):
    return torch.randint(outputs, (count, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", SYMBOLS)
@pytest.mark.parametrize("length", [1, 2, 7])
def test_rows_of_symbols_give_logits(name, length):
    assert built(name, (length,))(some(length=length)).shape == (6, 5)


@pytest.mark.parametrize("name", SYMBOLS)
def test_images_are_refused(name):
    with pytest.raises(RequestError, match=r"takes rows of symbols.*shape \(1, 8, 8\).*encoding=symbols"):
        build_model(name, (1, 8, 8), 10, SMALL[name])


def test_the_quadratic_network_is_its_formula():
    model, x = built("quadratic"), some()
    first, second = model.embedding.weight.view(2, 5, 8)
    expected = (first[x[:, 0]] + second[x[:, 1]]).square() @ model.head.weight.T
    torch.testing.assert_close(model(x), expected)


def test_init_scale_multiplies_all_weights():
    for name in SYMBOLS:
        one, three = built(name), built(name, init_scale=3)
        for weight, larger in zip(one.parameters(), three.parameters(), strict=True):
            if "Norm" not in name and weight.ndim > 1:
                torch.testing.assert_close(larger, 3 * weight, rtol=1e-6, atol=0)


def test_quadratic_scale():
    model = built("quadratic", (2,), 97, width=4096)
    # 2·97·4096 and 97·4096 draws: standard deviations are known to 0.1 %
    assert float(model.embedding.weight.detach().std()) == pytest.approx((2 * 97) ** -0.5, rel=0.01)
    assert float(model.head.weight.detach().std()) == pytest.approx(4096**-0.5, rel=0.01)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("norm", ["none", "pre", "post"])
def test_the_last_position_alone_gives_the_same(layers, norm):
    settings = {"layers": layers, "heads": 2, "width": 16, "norm": norm, "operator": True, "init_scale": 2.0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        last = Transformer(2, 11, **settings).double()
        whole = Transformer(2, 11, **settings, all_positions=True).double()
    whole.load_state_dict(last.state_dict())
    x = some(20, outputs=11)
    torch.testing.assert_close(last(x), whole(x), rtol=1e-11, atol=1e-12)
    for model in (last, whole):
        model(x).square().sum().backward()
    for one, other in zip(last.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-12)


def test_norms_behind_the_sums_by_hand():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Transformer(2, 11, layers=2, heads=2, width=16, norm="post", operator=True, init_scale=2.0).double()
    x = some(20, outputs=11)
    stream = model.embedding(model.tokens(x)) + model.positions.weight
    for block in model.blocks:
        stream = F.layer_norm(stream + block.attention(stream), (16,))
        stream = F.layer_norm(stream + block.mlp(stream), (16,))
    torch.testing.assert_close(model(x), model.head(stream)[:, -1], rtol=1e-11, atol=1e-12)
    assert not any(name.startswith("norm.") for name, _ in model.named_parameters())


def test_presets():
    nanda = build_model("transformer-nanda", (2,), 113)
    # d = 128: embeddings of 114 tokens and 3 positions, 4 d² of attention, an MLP of 512 with biases, the head
    assert sum(p.numel() for p in nanda.parameters()) == 128 * (114 + 3 + 4 * 128 + 2 * 512 + 1 + 113) + 512
    power = build_model("transformer-power", (2,), 97)
    blocks = sum(p.numel() for name, p in power.named_parameters() if name.startswith("blocks"))
    assert blocks == 2 * (12 * 128**2 + 4 * 128 + 640)  # with LayerNorm's and the MLP's vectors
    assert round(blocks, -5) == 400_000  # "about 4·10⁵ non-embedding parameters", arXiv 2201.02177, section A.1.2
    assert power.tokens(torch.tensor([[5, 7]])).tolist() == [[5, 98, 7, 97]]


def test_heads_divide_the_width():
    with pytest.raises(RequestError, match="heads=3 must divide width=8: take heads of 1, 2, 4, 8"):
        build_model("transformer", (2,), 5, {"heads": 3, "width": 8})


@pytest.mark.parametrize("name", SYMBOLS)
def test_second_derivatives(name):
    """Products with the Hessian agree with differences of gradients, through attention and embeddings."""
    settings = {"activation": "tanh"} if name == "embedding-mlp" else {}
    model = built(name, **settings)
    objective = Objective(model, (some(), some()[:, 0]))
    direction = torch.randn(objective.num_parameters, generator=torch.Generator().manual_seed(2)).double()
    step = 1e-5
    ahead, behind = (objective.gradient(objective.theta + sign * step * direction)[1] for sign in (1, -1))
    product = Hessian(objective, objective.theta)(direction)
    torch.testing.assert_close(product, (ahead - behind) / (2 * step), rtol=1e-3, atol=1e-6)  # of order step²
