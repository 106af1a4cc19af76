import dataclasses
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.networks.splits import DataSet, Split


def make(num_train=20, num_test=8, num_classes=3, seed=0, **changes):
    """A data set of random points."""
    generator = torch.Generator().manual_seed(seed)

    def split(count):
        return Split(
            torch.randn(count, 2, generator=generator), torch.randint(num_classes, (count,), generator=generator)
        )

    data = DataSet("points", split(num_train), split(num_test), num_classes, "memory")
    return dataclasses.replace(data, **changes) if changes else data


def test_a_split_counts_and_cuts():
    split = Split({"a": torch.arange(6.0), "b": torch.zeros(6, 2)}, torch.arange(6))
    assert len(split) == 6
    part = split[torch.tensor([4, 1])]
    assert part.inputs["a"].tolist() == [4, 1]
    assert part.inputs["b"].shape == (2, 2)
    assert part.targets.tolist() == [4, 1]
    assert Split((torch.arange(3.0), torch.zeros(3)), torch.arange(3))[:2].inputs[0].tolist() == [0, 1]


def test_shapes_and_outputs():
    assert make().input_shape == (2,)
    assert make().num_outputs == 3
    targets = torch.zeros(4, 2, 3)
    regression = DataSet("r", Split({"x": torch.zeros(4, 5)}, targets), None, None, "memory")
    assert (regression.input_shape, regression.num_outputs, list(regression.splits)) == ((5,), 6, ["train"])
    assert DataSet("r", Split(torch.zeros(4, 5), torch.zeros(4)), None, None, "").num_outputs == 1


def test_the_digest_is_over_contents_alone():
    data = make()
    assert data.digest == make().digest == dataclasses.replace(data, source="elsewhere", name="other").digest
    assert len(data.digest) == 64
    strided = dataclasses.replace(data, train=Split(data.train.inputs.T.contiguous().T, data.train.targets))
    assert strided.digest == data.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {"train": Split(d.train.inputs.double(), d.train.targets)},
        lambda d: {"train": Split(d.train.inputs + 1e-6, d.train.targets)},
        lambda d: {"train": Split(d.train.inputs, d.train.targets.flip(0))},
        lambda d: {"train": Split((d.train.inputs,), d.train.targets), "test": None},
        lambda d: {"test": None},
        lambda d: {"train": d.test, "test": d.train},
    ],
)
def test_the_digest_notices(change):
    data = make()
    assert dataclasses.replace(data, **change(data)).digest != data.digest


def test_the_digest_is_the_same_in_another_process():
    code = (
        "import torch; from landscape.networks.splits import DataSet, Split;"
        "x = torch.arange(12.).reshape(6, 2); y = torch.arange(6) % 3;"
        "print(DataSet('a', Split({'u': x, 'v': x}, y), None, 3, 'b').digest)"
    )
    inputs = torch.arange(12.0).reshape(6, 2)
    here = DataSet("c", Split({"v": inputs, "u": inputs}, torch.arange(6) % 3), None, 3, "d").digest
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == here
    )


@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 5))
def test_subsets_are_nested_ordered_and_fixed(small, large, seed):
    small, large = sorted((small, large))
    data = DataSet("n", Split(torch.arange(20.0), torch.arange(20)), Split(torch.arange(8.0), torch.arange(8)), 20, "")
    few, many = data.subset(small, seed), data.subset(large, seed)
    assert (len(few.train), len(few.test)) == (min(small, 20), min(small, 8))
    assert set(few.train.targets.tolist()) <= set(many.train.targets.tolist())
    assert few.train.targets.tolist() == sorted(few.train.targets.tolist())
    assert torch.equal(few.train.inputs, few.train.targets.float())
    assert few.digest == data.subset(small, seed).digest


def test_subsets_differ_by_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    data = make(200, 8)
    assert data.subset(50, 0).digest != data.subset(50, 1).digest
    assert data.subset(200) is data
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(RequestError, match="at least 1, got 0"):
        data.subset(0)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_label_noise_is_exact_and_always_wrong(fraction):
    data = make(400, 8)
    noisy = data.with_label_noise(fraction, seed=3)
    assert (noisy.train.targets != data.train.targets).sum() == round(400 * fraction)
    assert torch.equal(noisy.train.targets, data.with_label_noise(fraction, seed=3).train.targets)
    assert torch.equal(noisy.test.targets, data.test.targets)
    assert 0 <= noisy.train.targets.min() <= noisy.train.targets.max() < 3


def test_noisy_labels_are_uniform_over_the_wrong_ones():
    data = DataSet("n", Split(torch.zeros(9000, 1), torch.zeros(9000, dtype=torch.int64)), None, 4, "")
    counts = data.with_label_noise(1.0).train.targets.bincount(minlength=4)
    assert counts[0] == 0
    # 9,000 draws of three values: 3,000 each, give or take 45 (one standard deviation).
    assert (counts[1:] - 3000).abs().max() < 5 * 45


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_label_noise_is_a_fraction(fraction):
    with pytest.raises(RequestError, match=r"fraction in \[0, 1\]"):
        make().with_label_noise(fraction)


def test_label_noise_needs_classes():
    regression = DataSet("r", Split(torch.zeros(4, 5), torch.zeros(4)), None, None, "")
    with pytest.raises(RequestError, match="no classes to confuse"):
        regression.with_label_noise(0.1)


@pytest.mark.parametrize(
    ("inputs", "targets", "num_classes", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64), 2, "3 inputs but 4 targets"),
        ({"a": torch.zeros(2), "b": torch.zeros(3)}, torch.zeros(2), None, "3 inputs.b but 2 targets"),
        (torch.zeros(()), torch.zeros(2), None, "no inputs but 2 targets"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 2, "is empty"),
        (torch.tensor([1.0, torch.nan]), torch.zeros(2), None, "inputs hold values that are not finite"),
        (torch.tensor([torch.inf, -torch.inf]), torch.zeros(2), None, "not finite"),
        (torch.zeros(2), torch.tensor([0.0, torch.inf]), None, "targets hold values that are not finite"),
        (torch.zeros(2), torch.tensor([0, 2]), 2, r"must lie in 0\.\.1, but run from 0 to 2"),
        (torch.zeros(2), torch.tensor([-1, 1]), 2, "run from -1 to 1"),
        (torch.zeros(2), torch.tensor([0.0, 1.0]), 2, "labels must be int64"),
        (torch.zeros(2), torch.tensor([[0], [1]]), 2, r"shape \(2, 1\)"),
        (torch.zeros(2), torch.tensor([0, 1]), None, "regression targets must be floating"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(inputs, targets, num_classes, message):
    with pytest.raises(RequestError, match=message) as caught:
        DataSet("mine", Split(inputs, targets), None, num_classes, "memory")
    assert "data set 'mine', train split" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_large_values_with_an_infinite_sum_are_still_finite():
    inputs = torch.full((4, 2), 3e38)
    assert len(DataSet("large", Split(inputs, torch.zeros(4)), None, None, "").train) == 4


def test_tokens_may_be_left_out():
    tokens = torch.tensor([[1, -100], [0, 2]])
    assert DataSet("t", Split(tokens.clamp_min(0), tokens), None, 3, "").num_outputs == 3


def test_both_splits_have_one_shape():
    with pytest.raises(RequestError, match="differ in shape"):
        make(test=Split(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)))
