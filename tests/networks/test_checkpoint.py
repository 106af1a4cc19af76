"""Checkpoints: ours and other people's, whole and broken, harmless and not."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from landscape.errors import RequestError
from landscape.networks.checkpoint import load_checkpoint, load_into, read_recipe, save_checkpoint

RECIPE = {"problem": {"model": "mlp", "data": "digits"}, "steps": [1, 2], "lr": 0.1}


def network(seed=0, width=3):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
    model(torch.randn(5, 4))
    return model


def tied(seed=0):
    torch.manual_seed(seed)
    model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    return model


def assert_same(model, other):
    state, expected = model.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name
        assert state[name].dtype == tensor.dtype


def refused(path, match, model=None):
    """The file is refused in one line that names it."""
    with pytest.raises(RequestError, match=match) as caught:
        load_into(model or network(1), load_checkpoint(path))
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_native_round_trip(tmp_path):
    path, model = tmp_path / "a.safetensors", network()
    save_checkpoint(path, model, RECIPE)
    checkpoint = load_checkpoint(path)
    assert checkpoint.name == "a.safetensors"
    assert checkpoint.recipe == read_recipe(path) == RECIPE
    architecture = network(1)
    before = {name: tensor.clone() for name, tensor in architecture.state_dict().items()}
    loaded = load_into(architecture, checkpoint)
    assert_same(loaded, model)
    for name, tensor in architecture.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    save_checkpoint(path, architecture, {})  # replaced
    assert_same(load_into(model, load_checkpoint(path)), architecture)


def test_tied_weights_and_views(tmp_path):
    path, model = tmp_path / "a.safetensors", tied()
    save_checkpoint(path, model, {})
    loaded = load_into(tied(1), load_checkpoint(path))
    assert_same(loaded, model)
    assert loaded["head"].weight is loaded["embed"].weight
    # Other writers keep such a tensor once.
    for name in ("embed.weight", "head.weight"):
        save_file({name: model["embed"].weight.detach()}, path)
        assert_same(load_into(tied(1), load_checkpoint(path)), model)
    transposed = nn.Linear(3, 3, bias=False)
    transposed.weight.data = torch.arange(9.0).view(3, 3).T
    save_checkpoint(path, transposed, {})
    assert_same(load_into(nn.Linear(3, 3, bias=False), load_checkpoint(path)), transposed)


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(RequestError, match="can't be written"):
        save_checkpoint(tmp_path / "no folder" / "a.safetensors", network(), {})
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(RequestError, match="can't be written"):
        save_checkpoint(tmp_path / "a.safetensors", network(), {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_leftovers_of_a_killed_save_are_swept_up(tmp_path):
    (tmp_path / ".a.safetensors.123.partial").touch()
    (tmp_path / ".a.safetensors.partial").touch()  # the state of a run, not ours
    save_checkpoint(tmp_path / "a.safetensors", network(), {})
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.safetensors", ".a.safetensors.partial"}


def test_recipes_of_other_files(tmp_path):
    save_file(network().state_dict(), tmp_path / "plain.safetensors")
    torch.save(network().state_dict(), tmp_path / "a.pt")
    (tmp_path / "text").write_text("nothing")
    for path in (*tmp_path.iterdir(), tmp_path / "missing"):
        assert read_recipe(path) is None
    assert load_checkpoint(tmp_path / "plain.safetensors").recipe is None


FORMS = {
    "state_dict.pt": lambda state: state,
    "plain dict.pth": dict,
    "state_dict.ckpt": lambda state: {"state_dict": state, "epoch": 3, "optimizer_states": [{"lr": 0.1}]},
    "model_state_dict.tar": lambda state: {"model_state_dict": state, "loss": torch.tensor(0.3)},
    "model.pt": lambda state: {"model": state, "args": {"lr": 0.1}},
    "net.pt": lambda state: {"net": dict(state), "acc": 91.2},
    "nested twice.pt": lambda state: {"state_dict": {"model": state, "step": 3}},
    "module.pt": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled.pt": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "both.pt": lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
    "parameters.pt": lambda state: {name: nn.Parameter(v, v.is_floating_point()) for name, v in state.items()},
    "old.pt": lambda state: {name: value for name, value in state.items() if "num_batches" not in name},
    "lightning.ckpt": lambda state: {
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": value for name, value in state.items()}
        | {"train_accuracy.total": torch.tensor(3), "best": torch.tensor(float("inf"))},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1), "dirpath": "/x"}},
        "hyper_parameters": collections.OrderedDict(lr=0.1),
    },
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", FORMS)
def test_files_of_others(tmp_path, name, legacy):
    model = network()
    torch.save(FORMS[name](model.state_dict()), tmp_path / name, _use_new_zipfile_serialization=not legacy)
    checkpoint = load_checkpoint(tmp_path / name)
    assert checkpoint.recipe is None
    loaded = load_into(network(), checkpoint)
    assert_same(loaded, model)


def test_a_model_that_is_itself_called_model(tmp_path):
    inner = network()
    wrapped = nn.ModuleDict({"model": inner})
    torch.save(wrapped.state_dict(), tmp_path / "a.pt")
    checkpoint = load_checkpoint(tmp_path / "a.pt")
    assert_same(load_into(nn.ModuleDict({"model": network(1)}), checkpoint)["model"], inner)
    assert_same(load_into(network(1), checkpoint), inner)


def test_masks_may_hold_infinities(tmp_path):
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.full((2, 2), -torch.inf))
    save_checkpoint(tmp_path / "a.safetensors", model, {})
    assert_same(load_into(model, load_checkpoint(tmp_path / "a.safetensors")), model)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("form", ["a.safetensors", "a.pt"])
def test_weights_that_are_not_finite(tmp_path, form, value):
    model = network()
    with torch.no_grad():
        model[2].weight[1, 1] = value
    if form == "a.pt":
        torch.save(model.state_dict(), tmp_path / form)
    else:
        save_checkpoint(tmp_path / form, model, {})
    refused(tmp_path / form, "'2.weight' holds values that are not finite; the run diverged")


def test_statistics_that_are_no_numbers(tmp_path):
    model = network()
    model[1].running_var[0] = torch.nan
    save_checkpoint(tmp_path / "a.safetensors", model, {})
    refused(tmp_path / "a.safetensors", r"'1.running_var' holds values that are not finite")


OTHERS = {
    "wider": (
        lambda: network(width=4),
        r"is of another architecture: '0.weight' is \(4, 4\) but the model's is \(3, 4\)",
    ),
    "deeper": (
        lambda: nn.Sequential(*network(), nn.Linear(2, 2)),
        r"is of another architecture: it holds '3.bias' \(2,\), which the model lacks",
    ),
    "shallower": (lambda: network()[:2], r"it has no '2.weight' \(2, 3\); its first tensor is '0.bias'"),
    "names": (lambda: nn.ModuleDict({"fc": nn.Linear(4, 3)}), r"it has no '0.weight' \(3, 4\); .* is 'fc.bias'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures(tmp_path, name):
    make, message = OTHERS[name]
    save_checkpoint(tmp_path / "a.safetensors", make(), {})
    refused(tmp_path / "a.safetensors", message)


def test_no_file(tmp_path):
    refused(tmp_path / "a.pt", "does not exist; expected .safetensors, .pt, .pth, .ckpt or .npz")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.pt").touch()
    refused(tmp_path / "empty.pt", r"is empty \(0 bytes\)")


@pytest.mark.parametrize("text", ["hello, this is text\n" * 9, "[project]\n{}", "{", "PK", "\x80", "12345678{not json"])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.ckpt", "a"])
def test_text_files(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    refused(tmp_path / name, "is truncated or no (PyTorch|safetensors) file")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("form", ["a.safetensors", "zip.pt", "legacy.pt"])
def test_truncated_files(tmp_path, form, share):
    path = tmp_path / form
    if form == "a.safetensors":
        save_checkpoint(path, network(), RECIPE)
    else:
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=form == "zip.pt")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "is truncated or no (PyTorch|safetensors) file")


@given(st.binary(min_size=1, max_size=200), st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04"]))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory, content, start):
    path = tmp_path_factory.mktemp("bytes") / "a.pt"
    path.write_bytes(start + content)
    with pytest.raises(RequestError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], 3.0, {}, {"epoch": 3}, {"state_dict": {}}, {"state_dict": {"a": 1}}, None])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"expected a state_dict \(tensors by name\)")


def test_safetensors_without_tensors(tmp_path):
    save_file({}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "holds no tensors")


class Malicious:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def writers():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):

        def bare(content, path, protocol=protocol):
            path.write_bytes(pickle.dumps(content, protocol=protocol))

        yield pytest.param(bare, id=f"pickle-{protocol}")
    yield pytest.param(torch.save, id="zip")
    yield pytest.param(lambda c, p: torch.save(c, p, _use_new_zipfile_serialization=False), id="legacy")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("write", list(writers()))
def test_code_is_never_run(tmp_path, write, nested):
    trace = tmp_path / "trace"
    content = Malicious(trace)
    write({"state_dict": {"a": content}, "epoch": 1} if nested else content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", r"is refused: it holds (posix|nt)\.mkdir, and loading that could run code")
    assert not trace.exists()


def test_whole_modules_are_refused_by_name(tmp_path):
    torch.save(network(), tmp_path / "a.pt")
    message = refused(tmp_path / "a.pt", r"it holds torch\.nn\.modules\.container\.Sequential")
    assert "save model.state_dict() alone" in message


def test_numpy_arrays_are_refused_by_name(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": np.zeros(3)}))
    refused(tmp_path / "a.pt", r"it holds numpy\.")
