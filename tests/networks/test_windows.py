import hashlib

import pytest
import torch
from torch import nn

from landscape.errors import RequestError
from landscape.networks.splits import DataSet, Split
from landscape.networks.windows import language_data, windows
from landscape.objective.objective import Objective
from landscape.objective.samples import Samples

CPU = torch.device("cpu")


class Bigram(nn.Module):
    """The next token's logits as a row of a table."""

    def __init__(self, num_tokens):
        super().__init__()
        self.table = nn.Embedding(num_tokens, num_tokens)

    def forward(self, tokens):
        return self.table(tokens)


def make(length=50, dtype=torch.int64, num_tokens=11, **settings):
    sequence = (torch.arange(length) ** 2 % num_tokens).to(dtype)
    settings = {"context": 4, "stride": None, "test_fraction": 0.2, "source": "here"} | settings
    return sequence, language_data("squares", sequence, num_tokens=num_tokens, **settings)


@pytest.mark.parametrize("stride", [None, 1, 3, 7])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint16])
def test_windows_are_the_sequence_and_targets_the_next_token(stride, dtype):
    sequence = torch.arange(30).to(dtype)
    split = windows("it", sequence, 4, stride)
    starts = range(0, 30 - 4, stride or 4)
    assert split.inputs.long().tolist() == [list(range(start, start + 4)) for start in starts]
    assert split.targets.long().tolist() == [list(range(start + 1, start + 5)) for start in starts]
    assert split.inputs.dtype == split.targets.dtype == dtype


def test_windows_share_the_sequences_memory():
    sequence = torch.arange(1000)
    split = windows("it", sequence, 100, 1)
    for tensor in (split.inputs, split.targets):
        assert tensor.untyped_storage().data_ptr() == sequence.untyped_storage().data_ptr()


def test_a_sequence_as_long_as_a_window_lacks_its_last_target():
    assert len(windows("it", torch.arange(5), 4)) == 1
    with pytest.raises(RequestError, match="it has 4 tokens, too few for a window of context=4 and the token after"):
        windows("it", torch.arange(4), 4)


@pytest.mark.parametrize("stride", [None, 1, 3])
def test_the_splits_have_no_token_in_common(stride):
    sequence = torch.arange(100)
    data = language_data(
        "it", sequence, num_tokens=100, context=7, stride=stride, test_fraction=0.3, source="generated"
    )
    train, test = (
        {*split.inputs.flatten().tolist(), *split.targets.flatten().tolist()} for split in data.splits.values()
    )
    assert max(train) < 70 <= min(test)
    assert (data.input_shape, data.num_outputs) == ((7,), 100)


def test_no_test_split_if_none_is_asked_for():
    assert make(test_fraction=0.0)[1].test is None


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint16])
def test_a_token_outside_the_vocabulary(dtype):
    with pytest.raises(RequestError, match=r"labels must lie in 0\.\.4, but run from 1 to 9"):
        language_data(
            "it", torch.arange(10).to(dtype), num_tokens=5, context=2, stride=1, test_fraction=0.0, source="here"
        )


def test_the_digest_is_that_of_the_windows_written_out():
    _, data = make(stride=1)
    copies = [Split(split.inputs.clone(), split.targets.clone()) for split in data.splits.values()]
    assert DataSet("other", *copies, num_classes=11, source="there").digest == data.digest
    expected = hashlib.sha256()
    for name, split in data.splits.items():
        for part, tensor in split.tensors():
            expected.update(
                f"{name}.{part} <i8 {tuple(tensor.shape)};".encode() + tensor.contiguous().numpy().tobytes()
            )
    assert data.digest == expected.hexdigest()


def test_batches_of_uint16_are_widened():
    _, data = make(dtype=torch.uint16)
    samples = Samples(data.train, CPU, torch.float32)
    for inputs, targets in (samples.select(torch.tensor([3, 0])), next(samples.batches(2)), samples.first(2)):
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert samples.inputs.dtype == torch.uint16


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint16])
def test_the_objective_averages_over_tokens(dtype):
    sequence, data = make(dtype=dtype)
    model = Bigram(11).double()
    objective = Objective(model, data.train, batch_size=3)
    objective.check()
    values = objective.evaluate(objective.theta)
    inputs, targets = sequence[:36].long(), sequence[1:37].long()  # 40 tokens: nine windows of four and their targets
    logits = model.table.weight.detach()[inputs]
    expected = (logits.logsumexp(1) - logits[torch.arange(36), targets]).mean()
    assert values["loss"] == pytest.approx(float(expected), rel=1e-12)
    assert values["error"] == pytest.approx(float((logits.argmax(1) != targets).double().mean()), rel=1e-12)
    losses, counts = objective.losses(objective.theta)
    assert losses.shape == counts.shape == (9,)
    assert counts.tolist() == [4] * 9
