"""Data as they are read: fixed order, whatever their form."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler, TensorDataset

from landscape.errors import RequestError
from landscape.objective.objective import Objective
from landscape.objective.samples import Samples, batch_length, leaves, map_tensors

CPU = torch.device("cpu")
INPUTS, TARGETS = torch.arange(40.0).view(10, 4), torch.arange(10) % 3
PAIRS = TensorDataset(INPUTS, TARGETS)


def read(data, size=4):
    return list(Samples(data, CPU, torch.float64).batches(size))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9, 10, 11])
def test_batches_cover_everything_in_order(size):
    batches = read((INPUTS, TARGETS), size)
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), INPUTS.double())
    assert torch.equal(torch.cat([targets for _, targets in batches]), TARGETS)
    sizes = [len(targets) for _, targets in batches]
    assert sizes == {1: [1] * 10, 2: [2] * 5, 3: [3, 3, 4], 4: [4, 4, 2], 9: [10], 10: [10], 11: [10]}[size]


def test_forms_of_data():
    nested = {"a": (INPUTS, INPUTS.numpy()), "b": [TARGETS]}
    inputs, targets = read((nested, TARGETS.numpy()))[1]
    assert torch.equal(inputs["a"][1], INPUTS[4:8].double())
    assert torch.equal(inputs["b"][0], TARGETS[4:8])
    assert targets.dtype == torch.int64
    samples = Samples((INPUTS, {"class": TARGETS, "value": INPUTS}), CPU, torch.float32)
    assert torch.equal(samples.select(torch.tensor([7, 2]))[1]["value"], INPUTS[[7, 2]])
    assert torch.equal(samples.first(2)[1]["class"], TARGETS[:2])


def test_loaders_are_read_again_and_again():
    samples = Samples(DataLoader(PAIRS, batch_size=4), CPU, torch.float32)
    assert len(samples) == 10
    for _ in range(2):
        assert [len(targets) for _, targets in samples.batches(3)] == [4, 4, 2]
    assert len(samples.first(2)[0]) == 2
    with pytest.raises(RequestError, match="random batches need data as tensors"):
        samples.select(torch.tensor([0]))


def test_trees():
    tree = {"a": (torch.zeros(3), [torch.ones(3)]), "b": "text"}
    assert len(list(leaves(tree))) == 2
    assert batch_length(tree) == 3
    mapped = map_tensors(lambda x: x + 1, {"a": np.zeros(2), "b": "text"})
    assert mapped["a"].tolist() == [1, 1]
    assert mapped["b"] == "text"
    for empty in ({}, torch.tensor(3.0)):
        with pytest.raises(RequestError, match="first axis counts the samples"):
            batch_length(empty)


class Augmented(TensorDataset):
    def __getitem__(self, index):
        inputs, target = super().__getitem__(index)
        return inputs + torch.rand(()), target


class Exhausted:
    """Pretends that it can be iterated again."""

    def __init__(self):
        self.batches = iter([(INPUTS, TARGETS)])

    def __iter__(self):
        return self.batches


BAD = {
    "no samples": ((INPUTS[:0], TARGETS[:0]), "not empty; got lengths 0"),
    "unequal": ((INPUTS, TARGETS[:-1]), "got lengths 9, 10"),
    "unequal parts": (((INPUTS, INPUTS[1:]), TARGETS), "got lengths 9, 10"),
    "numbers": ((1.0, 2.0), "got lengths no tensors"),
    "one number": ((INPUTS, torch.tensor(1)), "got lengths 0, 10"),
    "no targets": ((INPUTS, None), "must be tensors, equally many"),
    "generator": (((INPUTS, TARGETS) for _ in range(1)), "can be iterated again, not generator"),
    "iterator": (iter([(INPUTS, TARGETS)]), "can be iterated again, not list_iterator"),
    "inputs only": (INPUTS, "data must be .* not Tensor"),
    "path": ("data.npz", "data must be .* not str"),
    "nothing": (None, "data must be .* not NoneType"),
    "data set": (PAIRS, "data must be .* not TensorDataset"),
    "no batches": ([], "the data loader yields no batch"),
    "batches of three": ([(INPUTS, TARGETS, TARGETS)], r"must be a pair \(inputs, targets\)"),
    "read once": (Exhausted(), "other samples each time"),
    "shuffle": (DataLoader(PAIRS, 4, shuffle=True), "other samples each time .* shuffle=False"),
    "sampler": (DataLoader(PAIRS, 4, sampler=SubsetRandomSampler(range(10))), "other samples each time"),
    "batch sampler": (
        DataLoader(PAIRS, batch_sampler=BatchSampler(RandomSampler(PAIRS), 4, False)),
        "other samples each time",
    ),
    "augmentation": (DataLoader(Augmented(INPUTS, TARGETS), 4), "no random augmentation"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data(name):
    data, message = BAD[name]
    with pytest.raises(RequestError, match=message) as caught:
        Objective(nn.Linear(4, 3), data)
    assert "\n" not in str(caught.value)


def test_labels_outside_of_the_classes():
    samples = Samples((INPUTS, TARGETS), CPU, torch.float32)
    samples.check_labels(3)
    with pytest.raises(RequestError, match=r"label 2 lies outside the model's 2 classes \(0 to 1\)"):
        samples.check_labels(2)
    tokens = (TARGETS - 100 * (TARGETS == 0))[:, None].expand(-1, 2)
    Samples((INPUTS, tokens), CPU, torch.float32).check_labels(3)  # a token may be left out, a sample not
    with pytest.raises(RequestError, match="label -100"):
        Samples((INPUTS, tokens[:, 0]), CPU, torch.float32).check_labels(3)
    with pytest.raises(RequestError, match="label -1"):
        Samples((INPUTS, TARGETS - 1), CPU, torch.float32).check_labels(3)
