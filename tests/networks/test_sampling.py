"""Batches and augmentation as functions of seed and step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from landscape.errors import RequestError
from landscape.networks.sampling import AUGMENTATIONS, Shuffle, augment, mix, random_crop, random_flip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 5), st.integers(0, 3))
def test_every_sample_once_per_epoch(num, size, seed, epoch):
    shuffle = Shuffle(num, size, seed)
    steps = range(epoch * shuffle.steps_per_epoch, (epoch + 1) * shuffle.steps_per_epoch)
    batches = [shuffle.indices(step) for step in steps]
    assert sorted(torch.cat(batches).tolist()) == list(range(num))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size + 1
    assert all(length == min(size, num) for length in sizes[:-1])
    if num > 1 and size > 1:
        assert min(sizes) > 1  # a single sample has no statistics


def test_a_last_sample_joins_the_batch_before():
    assert [len(Shuffle(9, 4, 0).indices(step)) for step in range(2)] == [4, 5]
    assert [len(Shuffle(10, 4, 0).indices(step)) for step in range(3)] == [4, 4, 2]
    assert Shuffle(5, 100, 0).steps_per_epoch == 1


def test_batches_are_functions_of_the_step():
    shuffle = Shuffle(50, 8, 3)
    forward = [shuffle.indices(step) for step in range(20)]
    for step in (13, 2, 19, 0):
        assert torch.equal(Shuffle(50, 8, 3).indices(step), forward[step])
        assert torch.equal(shuffle.indices(step), forward[step])
    assert not torch.equal(Shuffle(50, 8, 4).indices(0), forward[0])
    assert not torch.equal(shuffle.indices(shuffle.steps_per_epoch), forward[0])  # another order each epoch


def test_batch_sizes_that_mean_nothing():
    with pytest.raises(RequestError, match="batch size must be at least 1, got 0"):
        Shuffle(5, 0, 0)


def test_seeds_of_near_keys_differ():
    seeds = {mix(*keys) for keys in [(a, b) for a in range(40) for b in range(1, 40)]}
    assert len(seeds) == 40 * 39
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mix(1, 2, 3) == mix(1, 2, 3)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (3, 3, 32, 32), (2, 2, 7, 12)])
def test_augmented_images_keep_their_shape(name, shape):
    images = torch.randn(shape, generator=generator())
    before = images.clone()
    found = augment(name, images, generator(1))
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert torch.equal(augment(name, images, generator(1)), found)
    assert torch.equal(images, before)
    assert (name == "none") == torch.equal(found, images)


def test_crops_are_shifts_of_at_most_four_pixels_of_32():
    images = torch.arange(1.0, 1 + 2 * 32 * 32).view(1, 2, 32, 32).expand(2000, -1, -1, -1)
    found = random_crop(images, generator())
    # Pixel (16, 16) says by how much each image was shifted.
    offset = found[:, 0, 16, 16].long() - 1 - 16 * 32 - 16 + 4 * 32 + 4
    rows, columns = offset // 32 - 4, offset % 32 - 4
    for index in range(50):
        r, c = int(rows[index]), int(columns[index])
        padded = torch.nn.functional.pad(images[0], (4,) * 4)
        assert torch.equal(found[index], padded[:, 4 + r : 36 + r, 4 + c : 36 + c])
    for shifts in (rows, columns):
        counts = torch.bincount(shifts + 4, minlength=9)
        assert len(counts) == 9  # -4 ... 4, and each about equally often
        expected = 2000 / 9
        assert ((counts - expected).square() / expected).sum() < 26.1  # chi-squared, 8 degrees of freedom, 0.1 %
    assert torch.corrcoef(torch.stack([rows, columns]).double())[0, 1].abs() < 0.1


def test_flips_mirror_half_of_the_images():
    images = torch.randn(1000, 1, 2, 3, generator=generator())
    found = random_flip(images, generator(1))
    flipped = (found == images.flip(-1)).all(-1).all(-1).all(-1)
    kept = (found == images).all(-1).all(-1).all(-1)
    assert (flipped | kept).all()
    assert 440 < flipped.sum() < 560


def test_bad_augmentations():
    with pytest.raises(RequestError, match="unknown augmentation 'flips': did you mean 'flip'"):
        augment("flips", torch.zeros(2, 1, 8, 8), generator())
    for inputs in (torch.zeros(2, 8), (torch.zeros(2, 1, 8, 8),)):
        with pytest.raises(RequestError, match=r"needs images of shape \(N, C, H, W\)"):
            augment("crop", inputs, generator())
