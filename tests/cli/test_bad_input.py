"""Every wrong request is one line on stderr and exit status 2, and nothing was overwritten or begun."""

import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

HERE = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
TRAIN, CONNECT, snapshot, write_data = (HERE[name] for name in ("TRAIN", "CONNECT", "snapshot", "write_data"))
NEW = ("--out", "new.safetensors")
STORE = ("--out", "new.zarr")


pytestmark = pytest.mark.usefixtures("work")


class Bomb:
    """What a malicious pickle would hold."""

    def __reduce__(self):
        return (os.system, ("touch exploded",))


def spoil(kind):
    """Make `bad.pt` (or another name) in the working folder and return its name."""
    path = Path("bad.pt")
    whole = Path("a.safetensors").read_bytes()
    if kind == "missing":
        return "nowhere.safetensors"
    if kind == "folder":
        path.mkdir()
    elif kind in ("empty", "text", "html"):
        path.write_text({"empty": "", "text": "not weights at all\n", "html": "<!DOCTYPE html><html>404</html>"}[kind])
    elif kind == "empty safetensors":
        path = Path("bad.safetensors")
        path.write_bytes(b"")
    elif kind == "truncated safetensors":
        path = Path("bad.safetensors")
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "text as safetensors":
        path = Path("bad.safetensors")
        path.write_text("not weights at all\n")
    elif kind == "truncated pt":
        torch.save(load_file("a.safetensors"), path)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "no tensors":
        torch.save({"epoch": 3}, path)
    elif kind == "one tensor":
        torch.save(torch.zeros(3), path)
    elif kind in ("pickle", "torch pickle"):
        with path.open("wb") as file:
            (pickle.dump if kind == "pickle" else torch.save)({"state_dict": Bomb()}, file)
    elif kind == "whole module":
        torch.save(torch.nn.Linear(2, 2), path)
    else:
        state = load_file("a.safetensors")
        next(iter(state.values())).view(-1)[0] = float(kind)
        save_file(state, path)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "no PyTorch file"),
        ("html", "no PyTorch file"),
        ("empty safetensors", "is empty"),
        ("truncated safetensors", "is truncated"),
        ("text as safetensors", "no safetensors file"),
        ("truncated pt", "is truncated"),
        ("no tensors", "expected a state_dict"),
        ("one tensor", "expected a state_dict"),
        ("whole module", "Linear"),
        ("nan", "not finite"),
        ("inf", "not finite"),
    ],
)
def test_checkpoints(refuses, work, kind, message):
    line = refuses("connect", "a.safetensors", spoil(kind), *STORE)
    assert message in line
    if kind != "missing":
        assert "bad." in line


@pytest.mark.parametrize("kind", ["pickle", "torch pickle"])
def test_a_pickle_that_would_run_code_is_refused_by_its_type(refuses, work, kind):
    line = refuses("connect", spoil(kind), "a.safetensors", *STORE)
    assert f"{os.system.__module__}.system" in line
    assert not Path("exploded").exists()


def test_checkpoints_of_different_architectures(refuses, run, work):
    assert run(*TRAIN, "--model-set", "hidden=5", "--epochs", "1", "--out", "wide.safetensors").status == 0
    line = refuses("connect", "a.safetensors", "wide.safetensors", *STORE)
    first = next(iter(torch.nn.Linear(6, 4).state_dict()))
    assert first in line
    assert "(5, 6)" in line
    assert "(4, 6)" in line
    assert "wide" in line


def test_a_network_of_more_layers(refuses, run, work):
    assert run(*TRAIN, "--model-set", "hidden=4,4", "--epochs", "1", "--out", "deep.safetensors").status == 0
    line = refuses("connect", "a.safetensors", "deep.safetensors", *STORE)
    assert "architecture" in line


@pytest.mark.parametrize("checkpoints", [[], ["a.safetensors"]])
def test_too_few_checkpoints(refuses, checkpoints):
    line = refuses("connect", *checkpoints, *STORE)
    assert "START END" in line or "two checkpoints" in line


def own_pair():
    """Two state_dicts of somebody else's, which say nothing about themselves."""
    for name in "ab":
        torch.save(load_file(f"{name}.safetensors"), f"{name}.pt")
    return "connect", "a.pt", "b.pt", *STORE


def test_checkpoints_that_name_no_model(refuses, work):
    assert "--model" in refuses(*own_pair(), "--data", "data.npz")


def test_checkpoints_that_name_no_data(refuses, work):
    assert "--data" in refuses(*own_pair(), "--model", "mlp", "--model-set", "hidden=4")


@pytest.mark.parametrize(
    ("command", "option", "name", "nearest"),
    [
        ("train", "--model", "convnt", "convnet"),
        ("train", "--data", "digit", "digits"),
        ("train", "--data", "torchvision:MNIS", None),
        ("train", "--model", "timm:resnet1", None),
        ("train", "--optimizer", "sdg", "sgd"),
        ("train", "--schedule", "cosin", "cosine"),
        ("train", "--augment", "crops", "crop"),
        ("train", "--precision", "float23", "float32"),
        ("train", "--loss", "crossentropy", "cross-entropy"),
        ("train", "--device", "cudaa", "cuda"),
        ("train", "--set", "momentun=0.9", "momentum"),
        ("train", "--model-set", "hiden=4", "hidden"),
        ("train", "--epoch", "3", "--epochs"),
        ("connect", "--curve", "bezie", "bezier"),
        ("connect", "--optimizer", "adma", "adam"),
        ("connect", "--schedule", "konstant", "constant"),
        ("connect", "--nodes", "uniforn", "uniform"),
        ("connect", "--split", "tets", "test"),
        ("connect", "--split", "train,tset", "test"),
        ("connect", "--engine", "process", "processes"),
        ("connect", "--batchnorm", "recomputed", "recompute"),
        ("connect", "--device", "gpu", "cpu"),
        ("connect", "--set", "wait_decay=0.5", "weight_decay"),
        ("connect", "--model", "mpl", "mlp"),
        ("connect", "--data", "digitz", "digits"),
        ("connect", "--loss", "mae", "mse"),
        ("connect", "--point", "3", "--points"),
    ],
)
def test_unknown_names(refuses, command, option, name, nearest):
    base = (*TRAIN, *NEW) if command == "train" else (*CONNECT, *STORE)
    line = refuses(*base, option, name)
    if nearest is not None:
        assert f"'{nearest}'" in line.partition("id you mean")[2]


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["conect", "a", "b"], "'connect'"),
        (["trains"], "'train'"),
        (["figure", "conect"], "'connect'"),
        (["figure", "connect", "--preset", "smok"], "'smoke'"),
        (["figure", "connect", "--preset", "smoke", "--engine", "procesess"], "'processes'"),
        (["figure", "connect", "--preset", "smoke", "--device", "cpuu"], "'cpu'"),
        (["show", "a.zar"], "does not exist"),
        (["data", "--jsn"], "--json"),
    ],
)
def test_other_unknown_names(refuses, arguments, nearest):
    assert nearest in refuses(*arguments)


OWN = """
import torch
from torch import nn

number = 3

def make(): return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
def images(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(3, 3))
def two_classes(): return nn.Linear(6, 2)
def text(): return "a network"
def fails(): raise RuntimeError("first line\\nsecond line")
def bare(): return nn.Identity()
def nothing(): return None
def uneven(): return torch.zeros(4, 6), torch.zeros(3, dtype=torch.long)
def empty(): return torch.zeros(0, 6), torch.zeros(0, dtype=torch.long)
def infinite(): return torch.full((4, 6), torch.inf), torch.zeros(4, dtype=torch.long)
def negative(): return torch.zeros(4, 6), torch.tensor([0, 1, -1, 2])
def outside(): return {"train": (torch.zeros(4, 6), torch.tensor([0, 1, 3, 2])), "num_classes": 3}
def outside_in_test():
    good = torch.zeros(4, 6), torch.tensor([0, 1, 0, 1])
    return {"train": good, "test": (torch.zeros(4, 6), torch.tensor([0, 1, 2, 1]))}
def scalar(outputs, targets): return nn.functional.cross_entropy(outputs, targets)
def number_loss(outputs, targets): return 3.0
def wide(outputs, targets): return outputs
def raises(outputs, targets): return outputs @ targets
def one_argument(outputs): return outputs
"""


@pytest.fixture
def own(work, monkeypatch):
    """A user's module beside the data."""
    (work / "own_things.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(work))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield "own_things"
    sys.modules.pop("own_things", None)


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--model", "no_such_package.sub:make", "no_such_package"),
        ("--model", "own_things:mak", "'make'"),
        ("--model", "own_things:text", "returned a str, expected a torch.nn.Module"),
        ("--model", "own_things:number", "a value of type int"),
        ("--model", "own_things:fails", "RuntimeError: first line second line"),
        ("--model", "own_things:bare", "no parameters"),
        ("--model", "own_things:images", "can't take the data"),
        ("--model", "own_things:two_classes", "outside the model's 2 classes"),
        ("--model", "own things:make", "package.module:factory"),
        ("--data", "own_things:nothing", "a NoneType"),
        ("--data", "own_things:uneven", "4 inputs but 3 targets"),
        ("--data", "own_things:empty", "empty"),
        ("--data", "own_things:infinite", "not finite"),
        ("--data", "own_things:negative", "from -1 to 2"),
        ("--data", "own_things:outside", "labels must lie in 0..2"),
        ("--data", "nowhere.npz", "doesn't exist"),
        ("--data-dir", "nowhere", "does not exist"),
        ("--loss", "own_things:scalar", "expected one value per sample"),
        ("--loss", "own_things:number_loss", "a float"),
        ("--loss", "own_things:wide", "expected one value per sample"),
        ("--loss", "own_things:raises", "can't take"),
        ("--loss", "own_things:one_argument", "loss"),
        ("--loss", "own_things:number", "no function"),
        ("--loss", "own_things:sclar", "'scalar'"),
        ("--loss", "mse", "mse compares equal shapes"),
    ],
)
@pytest.mark.parametrize("command", ["train", "connect"])
def test_own_models_data_and_losses(refuses, own, command, option, name, message):
    if command == "train":
        base = (*TRAIN[:3], *("--data", "digits") * (option == "--data-dir"), *NEW)
        if option == "--data-dir":
            pytest.importorskip("sklearn")
        if option != "--model":
            base = (*base, "--model", "own_things:make")
    else:
        base = (*own_pair(), *TRAIN[1:3], "--model", "own_things:make")
        for index, source in enumerate(("a.pt", "b.pt")):
            torch.manual_seed(index)
            network = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
            torch.save(network.state_dict(), source)
    if command == "connect" and name in ("own_things:two_classes", "own_things:images"):
        message = "another architecture"
    assert message in refuses(*base, option, name)


COUNTS = {
    "train": ("--epochs", "--steps", "--batch-size", "--micro-batch-size", "--threads"),
    "connect": ("--bends", "--epochs", "--steps", "--batch-size", "--points", "--samples", "--threads", "--workers"),
}


@pytest.mark.parametrize("number", ["0", "-1"])
@pytest.mark.parametrize(("command", "option"), [(name, option) for name, some in COUNTS.items() for option in some])
def test_counts(refuses, command, option, number):
    base = (*TRAIN, *NEW) if command == "train" else ("connect", "a.safetensors", "b.safetensors", *STORE)
    line = refuses(*base, option, number)
    assert "at least" in line
    assert number in line


@pytest.mark.parametrize(
    ("command", "option", "value", "message"),
    [
        ("train", "--seed", "-1", "--seed"),
        ("train", "--seed", "99999999999999999999", "--seed"),
        ("train", "--seed", "1.5", "integer"),
        ("train", "--checkpoint-every", "-1", "at least 0"),
        ("train", "--eval-every", "-2", "at least 0"),
        ("train", "--label-noise", "1.5", "[0, 1]"),
        ("train", "--label-noise", "nan", "[0, 1]"),
        ("train", "--set", "lr=0", "more than 0"),
        ("train", "--set", "lr=fast", "must be a number"),
        ("train", "--set", "momentum", "KEY=VALUE"),
        ("train", "--set", "nesterov=yes", "momentum"),
        ("train", "--model-set", "hidden=0", "at least 1"),
        ("train", "--augment", "crop", "(N, C, H, W)"),
        ("train", "--precision", "fp16", "needs CUDA"),
        ("train", "--autosave", "-1", "--autosave"),
        ("connect", "--seed", "-1", "--seed"),
        ("connect", "--points", "1", "at least 2"),
        ("connect", "--plane", "1", "at least 2"),
        ("connect", "--plane", "-3", "at least 2"),
        ("connect", "--weight-decay", "-1", "at least 0"),
        ("connect", "--weight-decay", "nan", "at least 0"),
        ("connect", "--set", "lr=-0.1", "more than 0"),
        ("connect", "--split", "train,,test", "unknown split ''"),
        ("connect", "--set", "lr", "KEY=VALUE"),
    ],
)
def test_values(refuses, command, option, value, message):
    base = (*TRAIN, *NEW) if command == "train" else (*CONNECT, *STORE)
    assert message in refuses(*base, option, value)


@pytest.mark.parametrize(
    "option",
    [("--batch-size", "1"), ("--micro-batch-size", "1"), ("--optimizer", "sam", "--set", "m=1")],
    ids=lambda option: option[-1],
)
def test_single_samples_for_batchnorm(refuses, option):
    pytest.importorskip("sklearn")
    line = refuses("train", "--data", "digits", "--model", "convnet", *NEW, *option)
    assert "batches of a single sample" in line
    assert "choose at least 2" in line


@pytest.mark.parametrize("setting", ["exact=true", "m=4"])
def test_curves_have_one_worst_point_for_each_batch(refuses, setting):
    line = refuses(*CONNECT, *STORE, "--optimizer", "sam", "--set", setting)
    assert f"leave {setting.partition('=')[0]} out" in line


def test_fp16_is_refused_on_the_cpu_only(refuses):
    assert "bf16" in refuses(*TRAIN, *NEW, "--device", "cpu", "--precision", "fp16")


@pytest.mark.parametrize("base", [(*TRAIN, *NEW), (*CONNECT, *STORE)])
def test_epochs_and_steps(refuses, base):
    assert "not both" in refuses(*base, "--epochs", "2", "--steps", "3")


@pytest.mark.parametrize("base", [TRAIN, CONNECT])
def test_no_output_named(refuses, base):
    assert "--out" in refuses(*base)


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.parametrize("base", [(*TRAIN, *NEW), (*CONNECT, *STORE)])
def test_cuda_where_there_is_none(refuses, monkeypatch, base, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cpu" in refuses(*base, "--device", device)


def test_a_cuda_device_too_many(refuses, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert "counted from 0" in refuses(*TRAIN, *NEW, "--device", "cuda:1")


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("a.safetensors", (), "--overwrite"),
        ("data.npz/new.safetensors", (), "can't write to data.npz"),
        ("data.npz/deeper/new.safetensors", (), "can't write to data.npz/deeper"),
        ("new.pt", (), ".safetensors"),
        ("folder.safetensors", ("--overwrite",), "choose another --out"),
        ("connected.safetensors", (), "'connect' store"),
        ("folder.zarr.safetensors", (), "no landscape store"),
        ("half.safetensors", (), "unfinished run"),
        ("epochs.safetensors", ("--checkpoint-every", "1"), "epochs-epoch0002.safetensors exists"),
    ],
)
def test_outputs_of_train(refuses, run, work, out, options, message):
    (work / "folder.safetensors").mkdir()
    (work / "folder.zarr.zarr").mkdir()
    (work / "epochs-epoch0002.safetensors").write_bytes((work / "b.safetensors").read_bytes())
    if out == "connected.safetensors":
        assert run(*CONNECT, "--out", "connected.zarr").status == 0
    torch.save({"signature": "another"}, work / ".half.safetensors.partial")
    assert message in refuses(*TRAIN, "--epochs", "2", "--seed", "7", "--out", out, *options)


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("a.zarr", (), "'train' store"),
        ("a.safetensors", (), "no landscape store"),
        ("a.safetensors", ("--overwrite",), "no landscape store"),
        ("folder", (), "no landscape store"),
        ("folder", ("--overwrite",), "no landscape store"),
        ("data.npz/new.zarr", (), "write data.npz/new.zarr"),
        ("connected.zarr", ("--points", "4"), "points is 3 there, 4 here"),
        ("connected.zarr", ("--seed", "4"), "fit.seed"),
    ],
)
def test_outputs_of_connect(refuses, run, work, out, options, message):
    (work / "folder").mkdir()
    (work / "folder" / "mine.txt").write_text("mine")
    if out == "connected.zarr":
        assert run(*CONNECT, "--out", out).status == 0
    assert message in refuses(*CONNECT, "--out", out, *options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", "did you mean 'epochs'"),
        ("epochs: many", "valid integer"),
        ("epochs: 0", "at least 1"),
        ("- epochs", "mapping"),
        ("epochs: [1", "not valid YAML"),
        ("checkpoint: a", "unknown option"),
        ("set: {learning: 3}", "unknown setting"),
        ("config: other.yaml", "unknown option"),
    ],
)
def test_configurations(refuses, work, text, message):
    (work / "recipe.yaml").write_text(text)
    assert message in refuses(*TRAIN, *NEW, "--config", "recipe.yaml")


def test_a_configuration_that_is_not_there(refuses):
    assert "can't read --config nowhere.yaml" in refuses(*TRAIN, *NEW, "--config", "nowhere.yaml")
    assert "did you mean 'epochs'" in refuses(*TRAIN, *NEW, "--config-set", "epoch=3")


def test_checkpoints_of_different_data(refuses, run, work):
    write_data(work / "other.npz", seed=5)
    assert run(*TRAIN, "--data", "other.npz", "--epochs", "1", "--out", "c.safetensors", "--quiet").status == 0
    line = refuses("connect", "a.safetensors", "c.safetensors", *STORE)
    assert "--data" in line
    outcome = run(*CONNECT[:2], "c.safetensors", *CONNECT[3:], "--data", "data.npz", "--quiet", *STORE)
    assert (outcome.status, outcome.err) == (0, "")


@pytest.fixture
def stored(run, work):
    """A store of `landscape connect`."""
    assert run(*CONNECT, "--out", "c.zarr", "--quiet").status == 0
    return "c.zarr"


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("c.zarr::bezier@1.5", "[0, 1]"),
        ("c.zarr::bezier@-0.1", "[0, 1]"),
        ("c.zarr::bezier@nan", "[0, 1]"),
        ("c.zarr::bezier@half", "'half'"),
        ("c.zarr::bezier", "STORE::CURVE@T"),
        ("c.zarr::@0.5", "STORE::CURVE@T"),
        ("c.zarr::bezie@0.5", "did you mean 'bezier'"),
        ("c.zarr::polyline@0.5", "choices: linear, bezier"),
        ("c.zarr::bezier@0.5#1", "pairs 0 to 0"),
        ("c.zarr::bezier@0.5#x", "STORE::CURVE@T"),
        ("nowhere.zarr::bezier@0.5", "does not exist"),
        ("a.zarr::bezier@0.5", "no curves"),
        ("a.safetensors::bezier@0.5", "no landscape store"),
    ],
)
def test_points_of_curves(refuses, stored, point, message):
    assert message in refuses("connect", "a.safetensors", point, *STORE)


def test_subprocess(work):
    """The same through the installed command: no traceback, nothing on stdout."""
    before = snapshot(work)
    for arguments in (["connect", "a.safetensors", "nowhere.pt", *STORE], ["shwo"]):
        command = [sys.executable, "-m", "landscape.cli", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("Error: ")
        assert ended.stderr.count("\n") == 1
    assert snapshot(work) == before


@pytest.mark.parametrize(
    ("optimizer", "setting", "message"),
    [
        ("adamm", "lr=0.1", "unknown optimizer 'adamm': did you mean 'adam'"),
        ("adam", "bta1=0.9", "unknown setting of optimizer 'adam' 'bta1': did you mean 'beta1'"),
        ("muon", "nsteps=3", "unknown setting of optimizer 'muon' 'nsteps': did you mean 'steps'"),
        ("adamw", "lr=0", "setting 'lr' must be more than 0, got '0'"),
        ("lbfgs", "lr=-1", "setting 'lr' must be more than 0, got '-1'"),
        ("sgd", "lr=nan", "setting 'lr' must be a number, got 'nan'"),
        ("adam", "beta1=1", "setting 'beta1' must be at least 0 and less than 1, got '1'"),
        ("amsgrad", "beta2=-0.1", "setting 'beta2' must be at least 0 and less than 1, got '-0.1'"),
        ("shampoo", "beta=1.5", "setting 'beta' must be at least 0 and less than 1, got '1.5'"),
        ("momentum", "momentum=1", "setting 'momentum' must be at least 0 and less than 1, got '1'"),
        ("rmsprop", "gamma=1", "setting 'gamma' must be at least 0 and less than 1, got '1'"),
        ("sam", "p=0.5", "setting 'p' must be at least 1, got '0.5'"),
        ("steepest", "p=0.99", "setting 'p' must be at least 1, got '0.99'"),
        ("sam", "rho=-0.1", "setting 'rho' must be at least 0, got '-0.1'"),
        ("asam", "rho=-1", "setting 'rho' must be at least 0, got '-1'"),
        ("sam", "m=0", "setting 'm' must be at least 1, got '0'"),
        ("sam", "base=adma", "unknown optimizer 'adma': did you mean 'adam'"),
        ("sam", "base=asam", "the base of sam can't be asam"),
        ("sam", "base.lr=0", "optimizer 'momentum': setting 'lr' must be more than 0"),
        ("steepest", "norm=spektral", "did you mean 'spectral'"),
        (
            "steepest",
            "vector=spectral",
            "parameter 1.bias has shape (4,): put it into a group with norm l2, linf or adamw",
        ),
    ],
)
def test_hyperparameters(refuses, optimizer, setting, message):
    assert message in refuses(*TRAIN, *NEW, "--optimizer", optimizer, "--set", setting)


def test_line_searches_and_loss_scaling(refuses):
    line = refuses(*TRAIN, *NEW, "--optimizer", "sam", "--set", "base=lbfgs", "--precision", "fp16")
    assert "optimizer 'lbfgs' evaluates the loss as often as it needs" in line
    assert "bf16" in line


@pytest.mark.parametrize("optimizer", ["adam", "muon", "sam"])
def test_a_state_of_other_shapes(refuses, run, work, optimizer):
    """What a killed run left, but of another network: said in a line, and left as it was."""
    command = (*TRAIN, *NEW, "--optimizer", optimizer, "--autosave", "0", "--quiet")
    kept = work / ".new.safetensors.partial"

    def kill(*_):
        raise GeneratorExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("landscape.studies.train._write_history", kill)
        with pytest.raises(GeneratorExit):
            run(*command)
    content = torch.load(kept)
    states = content["state"]["optimizer"]["state"]
    first = next(iter(states.values()))
    name = next(key for key, value in first.items() if getattr(value, "ndim", 0) == 2)
    whole, first[name] = first[name], torch.zeros(7, 2)
    content["state"]["optimizer"].pop("shapes", None)  # by which it would be known at once
    torch.save(content, kept)
    line = refuses(*command)
    assert "(7, 2)" in line
    assert "the optimizer's state" in line
    first[name] = whole
    content["state"]["model"]["1.weight"] = torch.zeros(7, 2)
    torch.save(content, kept)
    line = refuses(*command)
    assert "[7, 2]" in line
    assert "delete it" in line
    kept.unlink()
    assert run(*command).status == 0


def shard(tokens, magic=20240520, cut=0):
    """A training shard in the working folder."""
    header = np.zeros(256, dtype=np.int32)
    header[:3] = (magic, 1, len(tokens))
    content = header.tobytes() + np.asarray(tokens, dtype=np.uint16).tobytes()
    Path("x_train_1.bin").write_bytes(content[: len(content) - cut])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"magic": 20240521}, "begins with (20240521, 1), expected (20240520, 1)"),
        ({"cut": 3}, "x_train_1.bin is truncated or damaged: its header says 400 tokens"),
        ({"cut": 1000}, "x_train_1.bin is truncated"),
        ({"tokens": [*range(300), 777, *range(99)]}, "holds token 777 at position 300, outside the vocabulary of 500"),
    ],
)
def test_token_shards(refuses, work, damage, message):
    shard(**{"tokens": range(400), **damage})
    settings = ("--data-set", "context=8", "--data-set", "vocabulary=500", "--model-set", "width=8")
    assert message in refuses(
        "train", "--data", "tokens", "--data-dir", ".", *settings, "--model", "gpt-nano", *NEW, "--steps", "1"
    )
