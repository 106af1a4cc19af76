import numpy as np
import pytest
import torch

from landscape.errors import RequestError
from landscape.networks import search, shards
from landscape.networks.datasets import list_data, load_data

HEADER = (20240520, 1)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No data set is installed on this machine."""
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setattr(search, "SYSTEM_FOLDERS", ())


def write(path, tokens, *, magic=HEADER, count=None, cut=0):
    """A shard as the speedrun's script writes it, or a damaged one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.zeros(256, dtype=np.int32)
    header[:3] = (*magic, len(tokens) if count is None else count)
    content = header.tobytes() + np.asarray(tokens, dtype=np.uint16).tobytes()
    path.write_bytes(content[: len(content) - cut])
    return path


def load(folder, **settings):
    return load_data("tokens", data_dir=folder, settings={"context": 4, "vocabulary": 1000, **settings})


def sequence(split):
    """The tokens of windows that lie side by side, and their last target."""
    return [*split.inputs.flatten().long().tolist(), int(split.targets[-1, -1])]


@pytest.mark.parametrize("place", [".", "tokens", "fineweb10B"])
def test_two_splits(tmp_path, place):
    write(tmp_path / place / "fineweb_train_000001.bin", range(100, 150))
    write(tmp_path / place / "fineweb_val_000000.bin", range(20))
    data = load(tmp_path)
    assert sequence(data.train) == list(range(100, 149))
    assert sequence(data.test) == list(range(17))
    assert (data.num_classes, data.input_shape) == (1000, (4,))
    assert data.source == str(tmp_path / place)


def test_one_shard_stays_memory_mapped(tmp_path):
    path = write(tmp_path / "x_train_1.bin", range(100))
    mapped = shards.Shard.open(path).tokens(100, 1000)
    assert isinstance(mapped, np.memmap)
    data = load(tmp_path, stride=1)
    assert data.train.inputs.dtype == torch.uint16
    assert data.train.inputs.untyped_storage().data_ptr() == data.train.targets.untyped_storage().data_ptr()
    assert data.train.inputs.untyped_storage().nbytes() == 2 * 100
    # Nothing that is done to the data reaches the file.
    before = path.read_bytes()
    data.train.inputs[0, 0] = 7
    assert path.read_bytes() == before


def test_shards_are_joined_in_order(tmp_path):
    for number in (2, 1, 3):
        write(tmp_path / f"x_train_{number}.bin", range(100 * number, 100 * number + 10))
    assert (
        sequence(load(tmp_path, context=2, test_fraction=0).train)
        == [first + k for first in (100, 200, 300) for k in range(10)][:-1]
    )


def test_no_more_shards_are_read_than_the_size_asks_for(tmp_path):
    for number in (1, 2):
        write(tmp_path / f"x_train_{number}.bin", range(100 * number, 100 * number + 10))
    write(tmp_path / "x_train_3.bin", range(10), magic=(1, 1))
    write(tmp_path / "x_val_0.bin", range(30))
    data = load(tmp_path, context=2, size=15, test_size=5)
    assert sequence(data.train) == [*range(100, 110), *range(200, 205)]
    assert sequence(data.test) == list(range(5))


def test_without_validation_shards_the_end_is_the_tests(tmp_path):
    write(tmp_path / "x_train_1.bin", range(100))
    data = load(tmp_path, context=2, test_fraction=0.2)
    assert sequence(data.train) == list(range(79))
    assert sequence(data.test) == list(range(80, 99))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"magic": (20240521, 1)}, r"begins with \(20240521, 1\), expected \(20240520, 1\)"),
        ({"magic": (20240520, 7)}, r"begins with \(20240520, 7\)"),
        ({"cut": 2}, "truncated or damaged: its header says 50 tokens, that is 1124 bytes, but it has 1122"),
        ({"cut": 1}, "truncated"),
        ({"count": 49}, "truncated or damaged: its header says 49 tokens"),
        ({"count": -1}, "truncated or damaged"),
        ({"cut": 200}, "truncated: 924 bytes, less than its header of 1024"),
        ({"cut": 1124}, "truncated: 0 bytes"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_damaged_shards_are_one_line(tmp_path, damage, message, split):
    write(tmp_path / "x_train_1.bin", range(50))
    path = write(tmp_path / f"x_{split}_1.bin", range(50), **damage)
    with pytest.raises(RequestError, match=message) as caught:
        load(tmp_path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_token_outside_the_vocabulary(tmp_path):
    path = write(tmp_path / "x_train_1.bin", [1, 2, 999, 1000, 3] * 5)
    with pytest.raises(RequestError, match="token 1000 at position 3, outside the vocabulary of 1000") as caught:
        load(tmp_path)
    assert str(path) in str(caught.value)


def test_an_empty_shard(tmp_path):
    write(tmp_path / "x_train_1.bin", [])
    with pytest.raises(RequestError, match="too few for a window"):
        load(tmp_path)


def test_no_shards(tmp_path):
    with pytest.raises(RequestError, match=r"data set 'tokens': no shards \*_train_\*\.bin in .*--data-dir") as caught:
        load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_the_list_counts_windows_from_headers_alone(tmp_path):
    row = next(row for row in list_data(tmp_path) if row.name == "tokens")
    assert (row.samples, row.shape, row.num_classes, row.found) == (None, (1024,), 50_257, None)
    write(tmp_path / "x_train_1.bin", np.full(2049, 60_000))  # outside the vocabulary: nobody looked
    write(tmp_path / "x_val_1.bin", np.zeros(1025))
    row = next(row for row in list_data(tmp_path) if row.name == "tokens")
    assert (row.samples, row.found) == ((2, 1), str(tmp_path))
