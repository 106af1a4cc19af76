"""The role of every parameter, decided from the module or overridden."""

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.optimizers.parameters import Placeholder
from landscape.optimizers.roles import QKV, as_matrices, compile_pattern, roles, split_by_role

OPTIONS = {role: {"norm": role, "lr": 0.1} for role in ("hidden", "embedding", "head", "vector")}


class Transformer(nn.Module):
    """The skeleton of one."""

    def __init__(self, tied):
        super().__init__()
        self.head = nn.Linear(4, 7, bias=False)  # made first: ties, not places, tell the head
        self.tokens = nn.Embedding(7, 4)
        self.qkv = nn.Linear(4, 12)
        self.norm = nn.LayerNorm((2, 4))
        self.out = nn.Linear(4, 4, bias=False)
        self.last = nn.Conv1d(4, 4, 3)
        if tied:
            self.head.weight = self.tokens.weight


def test_a_tied_head():
    assert roles(Transformer(tied=True)) == {
        "head.weight": "head",
        "qkv.weight": "hidden",
        "qkv.bias": "vector",
        "norm.weight": "vector",
        "norm.bias": "vector",
        "out.weight": "hidden",
        "last.weight": "hidden",
        "last.bias": "vector",
    }


def test_the_last_matrix_is_the_head_otherwise():
    found = roles(Transformer(tied=False))
    assert found["tokens.weight"] == "embedding"
    assert found["last.weight"] == "head"
    assert found["head.weight"] == found["out.weight"] == "hidden"


def test_the_only_matrix_is_hidden():
    assert roles(nn.Linear(3, 2)) == {"weight": "hidden", "bias": "vector"}


def test_convolutions_and_normalisations():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.Linear(4, 2))
    expected = ["hidden", "vector", "vector", "vector", "hidden", "vector", "head", "vector"]
    assert list(roles(model).values()) == expected
    assert as_matrices(torch.zeros(4, 2, 3, 5)).shape == (1, 4, 30)
    assert as_matrices(torch.zeros(12, 4), 3).shape == (3, 4, 4)


def test_frozen_parameters_have_no_role():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[1].weight.requires_grad_(False)
    assert list(roles(model)) == ["0.weight", "0.bias", "1.bias"]
    assert roles(model)["0.weight"] == "hidden"


def test_hidden_overrides():
    found = roles(Transformer(tied=True), hidden=r"^(out|head)\.")
    assert found["out.weight"] == found["head.weight"] == "hidden"
    assert found["qkv.weight"] == found["last.weight"] == "head"
    assert found["norm.weight"] == "vector"
    with pytest.raises(
        RequestError, match=r"hidden='blocks' matches no matrix: choose among head\.weight, qkv\.weight"
    ):
        roles(Transformer(tied=True), hidden="blocks")
    with pytest.raises(RequestError, match=r"hidden='\(' is no regular expression"):
        roles(nn.Linear(2, 2), hidden="(")


def names(groups):
    return [(g["norm"], g.get("parts", 1), [name for name, _ in g["params"]]) for g in groups]


def test_groups_of_a_module():
    model = Transformer(tied=True)
    groups = split_by_role(model, OPTIONS, qkv=QKV)
    assert names(groups) == [
        ("hidden", 1, ["out.weight", "last.weight"]),
        ("hidden", 3, ["qkv.weight"]),
        ("head", 1, ["head.weight"]),
        ("vector", 1, ["qkv.bias", "norm.weight", "norm.bias", "last.bias"]),
    ]
    assert names(split_by_role(model, OPTIONS))[0] == ("hidden", 1, ["qkv.weight", "out.weight", "last.weight"])
    assert split_by_role(Placeholder(), OPTIONS, hidden="blocks")[0]["norm"] == "hidden"


@pytest.mark.parametrize(
    ("name", "fused"),
    [
        ("blocks.0.attn.qkv.weight", True),
        ("h.0.attn.c_attn.weight", True),
        ("in_proj_weight", True),
        ("self_attn.in_proj_weight", True),
        ("Wqkv.weight", True),
        ("attention.query_key_value.weight", True),
        ("attn.to_qkv.weight", True),
        ("mlp.c_fc.weight", False),
        ("attn.c_proj.weight", False),
    ],
)
def test_names_of_fused_weights(name, fused):
    assert bool(compile_pattern("qkv", QKV).search(name)) == fused


def test_groups_of_tensors():
    w, b = torch.zeros(3, 2, requires_grad=True), torch.zeros(3, requires_grad=True)
    assert split_by_role([b, w], OPTIONS) == [
        {"params": [w], "norm": "hidden", "lr": 0.1},
        {"params": [b], "norm": "vector", "lr": 0.1},
    ]
    given = [{"params": [w], "role": "embedding", "lr": 0.3}, {"params": [b], "norm": "vector", "weight_decay": 1.0}]
    assert split_by_role(given, OPTIONS) == [
        {"params": [w], "norm": "embedding", "lr": 0.3},
        {"params": [b], "norm": "vector", "lr": 0.1, "weight_decay": 1.0},
    ]
    with pytest.raises(RequestError, match="give the module, not its tensors"):
        split_by_role([w], OPTIONS, hidden="w")
    with pytest.raises(RequestError, match="unknown role of a parameter group 'embeding': did you mean 'embedding'"):
        split_by_role([{"params": [w], "role": "embeding"}], OPTIONS)
    with pytest.raises(RequestError, match="nothing to train"):
        split_by_role(nn.Linear(2, 2).requires_grad_(False), OPTIONS)
