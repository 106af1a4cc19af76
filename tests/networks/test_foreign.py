import sys
import textwrap
import types
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from landscape.errors import RequestError
from landscape.networks.datasets import load_data
from landscape.networks.foreign import as_data_set
from landscape.networks.splits import DataSet, Split

INPUTS = np.arange(12, dtype=np.float64).reshape(6, 2)
LABELS = np.arange(6) % 3


class Pairs(Dataset):
    """A map-style data set, which has no __iter__ and raises past its end."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index]


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


class Picture(SimpleNamespace):
    """What torchvision gives without a transform: something that NumPy reads and that knows its bands."""

    def getbands(self):
        return ("R", "G", "B")

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize(
    "value",
    [
        (INPUTS, LABELS),
        [INPUTS, LABELS.tolist()],
        (torch.tensor(INPUTS), torch.tensor(LABELS, dtype=torch.int32)),
        {"train": (INPUTS, LABELS)},
        {"train": (INPUTS, LABELS), "test": None},
        TensorDataset(torch.tensor(INPUTS), torch.tensor(LABELS)),
        Pairs([(INPUTS[k], int(LABELS[k])) for k in range(6)]),
        Pairs([(torch.tensor(INPUTS[k]), torch.tensor(LABELS[k])) for k in range(6)]),
        {"train": Split(torch.tensor(INPUTS), torch.tensor(LABELS))},
    ],
)
def test_every_form_gives_the_same_data(value):
    data = as_data_set("mine", value, "memory")
    assert data.digest == as_data_set("mine", (INPUTS, LABELS), "memory").digest
    assert (data.num_classes, data.test, data.train.inputs.dtype) == (3, None, torch.float64)


def test_classes_are_counted_over_all_splits_or_given():
    value = {"train": (INPUTS[:3], [0, 1, 0]), "test": (INPUTS, LABELS)}
    assert as_data_set("mine", value, "").num_classes == 3
    assert as_data_set("mine", {**value, "num_classes": 7}, "").num_classes == 7
    with pytest.raises(RequestError, match=r"test split: labels must lie in 0\.\.1"):
        as_data_set("mine", {**value, "num_classes": 2}, "")


def test_floating_targets_are_regressed_on():
    data = as_data_set("mine", (INPUTS, LABELS.astype(float)), "")
    assert (data.num_classes, data.num_outputs) == (None, 1)


def test_bytes_are_pixels_and_whole_numbers_stay():
    pixels = as_data_set("mine", (np.full((2, 1, 2, 2), 255, np.uint8), [0, 1]), "").train.inputs
    assert torch.equal(pixels, torch.ones(2, 1, 2, 2))
    assert as_data_set("mine", (np.array([[1], [2]], np.int32), [0, 1]), "").train.inputs.dtype == torch.int64
    assert as_data_set("mine", (np.array([[True], [False]]), [0, 1]), "").train.inputs.tolist() == [[1.0], [0.0]]


def test_inputs_may_be_tuples_and_dicts():
    data = as_data_set("mine", ((INPUTS, LABELS), LABELS), "")
    assert [part.shape for part in data.train.inputs] == [(6, 2), (6,)]
    data = as_data_set("mine", ({"a": INPUTS}, LABELS), "")
    assert data.train.inputs["a"].shape == (6, 2)
    mapped = as_data_set("mine", Pairs([({"a": INPUTS[k]}, LABELS[k]) for k in range(6)]), "")
    assert mapped.digest == data.digest
    listed = as_data_set("mine", Pairs([((INPUTS[k], LABELS[k]), LABELS[k]) for k in range(6)]), "")
    assert [part.shape for part in listed.train.inputs] == [(6, 2), (6,)]


def test_pictures_become_channels_first():
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    data = as_data_set("mine", Pairs([(Picture(array=array), 0), (Picture(array=array), 1)]), "")
    assert data.input_shape == (3, 2, 2)
    np.testing.assert_allclose(data.train.inputs[0], array.transpose(2, 0, 1) / np.float32(255))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (INPUTS, r"must be \(inputs, targets\) or a torch Dataset of such pairs, got a ndarray of shape \(6, 2\)"),
        (None, "got a NoneType"),
        ((INPUTS, LABELS, LABELS), "got a tuple"),
        ({"trian": (INPUTS, LABELS)}, "did you mean 'train'"),
        ({"test": (INPUTS, LABELS)}, r"has no 'train' \(it has: test\)"),
        ({}, "it has: nothing"),
        ((INPUTS[:5], LABELS), "5 inputs but 6 targets"),
        ((INPUTS[:0], LABELS[:0]), "is empty"),
        ((np.array([["a"], ["b"]]), [0, 1]), "inputs must be numbers"),
        ((INPUTS, ["a"] * 6), "targets must be numbers"),
        ((INPUTS * np.nan, LABELS), "not finite"),
        (Stream(), "is a stream"),
        (Pairs([]), "is empty"),
        (Pairs([1, 2]), r"must give \(input, target\) for each index, got a int"),
        (Pairs([(np.zeros(2), 0), (np.zeros(3), 1)]), "samples of different shapes"),
        (Pairs([(np.zeros(2), [0]), (np.zeros(2), [1, 2])]), "targets of different shapes"),
    ],
)
def test_what_is_no_data_is_said_in_one_line(value, message):
    with pytest.raises(RequestError, match=message) as caught:
        as_data_set("mine", value, "memory")
    assert "'mine'" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_factory_outside_the_package(tmp_path, monkeypatch):
    module = """
        import numpy as np

        def make(count=4):
            return {"train": (np.zeros((count, 3)), np.arange(count)), "test": (np.ones((2, 3)), [0, 1])}

        def wrong():
            return 3
    """
    (tmp_path / "users_data.py").write_text(textwrap.dedent(module), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    data = load_data("users_data:make", settings={"count": 5})
    assert (len(data.train), data.num_classes, data.source) == (5, 5, "users_data:make")
    with pytest.raises(RequestError, match="got a int"):
        load_data("users_data:wrong")
    with pytest.raises(RequestError, match="unexpected keyword argument 'size'"):
        load_data("users_data:make", settings={"size": 5})
    sys.modules.pop("users_data")


def test_npz_files(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, inputs=INPUTS, targets=LABELS)
    assert load_data(str(path)).digest == as_data_set("x", (INPUTS, LABELS), "").digest
    np.savez(path, train_inputs=INPUTS, train_targets=LABELS, test_inputs=INPUTS, test_targets=LABELS, num_classes=9)
    assert (load_data(str(path)).num_classes, len(load_data(str(path)).test)) == (9, 6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": INPUTS}, r"no array 'targets' \(it has: inputs\)"),
        ({"input": INPUTS, "targets": LABELS}, "did you mean 'inputs'"),
        ({"inputs": INPUTS, "targets": LABELS, "test_inputs": INPUTS}, "no array 'test_targets'"),
        ({"inputs": INPUTS, "targets": LABELS, "train_inputs": INPUTS, "train_targets": LABELS}, "both"),
        ({"inputs": INPUTS, "targets": LABELS, "num_classes": "many"}, "num_classes"),
        ({"inputs": np.array([{}], dtype=object), "targets": LABELS}, "without pickles"),
    ],
)
def test_npz_files_that_are_none(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(RequestError, match=message):
        load_data(str(tmp_path / "mine.npz"))


@pytest.mark.parametrize("contents", [b"", b"some text", b"PK\x03\x04 truncated"])
def test_damaged_npz_files(tmp_path, contents):
    (tmp_path / "mine.npz").write_bytes(contents)
    with pytest.raises(RequestError, match=r"mine.npz can't be read"):
        load_data(str(tmp_path / "mine.npz"))
    with pytest.raises(RequestError, match="doesn't exist"):
        load_data(str(tmp_path / "other.npz"))


@pytest.mark.usefixtures("nowhere")
def test_torchvision(tmp_path, monkeypatch):
    calls = []

    def by_flag(root, train=True, transform=None, download=True):
        calls.append((root, train, download))
        if "empty" in root:
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        return Pairs([(Picture(array=np.zeros((2, 2, 3), np.uint8)), 0)] * (3 if train else 2))

    def by_split(root, split="train", download=True):
        return Pairs([(torch.zeros(2), 1)] * (3 if split == "train" else 2))

    datasets = types.ModuleType("torchvision.datasets")
    datasets.__all__ = ("CIFAR10", "SVHN")
    datasets.CIFAR10, datasets.SVHN = by_flag, by_split
    torchvision = types.ModuleType("torchvision")
    torchvision.datasets = datasets
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    data = load_data("torchvision:CIFAR10", data_dir=tmp_path)
    assert (len(data.train), len(data.test), data.input_shape) == (3, 2, (3, 2, 2))
    assert calls == [(str(tmp_path), True, False), (str(tmp_path), False, False)]
    assert len(load_data("torchvision:SVHN", data_dir=tmp_path).test) == 2
    with pytest.raises(RequestError, match="unknown data set torchvision:"):
        load_data("torchvision:SVNH", data_dir=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="nothing is downloaded"):
        load_data("torchvision:CIFAR10", data_dir=tmp_path / "empty")


def test_torchvision_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(RequestError, match=r"needs torchvision.*pip install"):
        load_data("torchvision:CIFAR10")


def test_a_ready_data_set_passes_through():
    data = DataSet("a", Split(torch.zeros(2, 1), torch.zeros(2)), None, None, "b")
    assert as_data_set("c", data, "d") is data
