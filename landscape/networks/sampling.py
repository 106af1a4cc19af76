"""Random batches and augmentation as pure functions of the seed and the step, so that a resumed run sees the same."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from landscape.errors import RequestError, unknown


def mix(*keys: int) -> int:
    """A seed from several numbers, such as a run's seed, its purpose and a step; near keys give unrelated seeds."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> 1)


class Shuffle:
    """Epochs of batches without replacement.

    A last batch of a single sample is joined to the one before, since BatchNorm can't train on it.

    Args:
        num_samples: Size of the data set.
        batch_size: Samples in a batch; more than there are means the full batch.
        seed: Decides all permutations.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise RequestError(f"the batch size must be at least 1, got {batch_size}")
        self.num_samples, self.batch_size, self.seed = num_samples, min(batch_size, num_samples), seed
        full, rest = divmod(num_samples, self.batch_size)
        self.steps_per_epoch = full + (rest > 1)
        self._epoch, self._order = -1, torch.empty(0)

    def indices(self, step: int) -> Tensor:
        """The sample numbers of the batch of a step, shape `(B,)`."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, epoch))
            self._epoch, self._order = epoch, torch.randperm(self.num_samples, generator=generator)
        start = position * self.batch_size
        last = position == self.steps_per_epoch - 1
        return self._order[start:] if last else self._order[start : start + self.batch_size]


def random_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to an eighth of its size (4 of 32 pixels), zeros coming in.

    Args:
        images: Shape `(B, C, H, W)`.
        generator: On the images' device.
    """
    batch, _, height, width = images.shape
    margin = max(1, height // 8)
    padded = F.pad(images, (margin,) * 4)
    offsets = torch.randint(2 * margin + 1, (2, batch, 1), generator=generator, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    sample = torch.arange(batch, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    flip = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


AUGMENTATIONS = {
    "none": (),
    "crop": (random_crop,),
    "flip": (random_flip,),
    "crop-flip": (random_crop, random_flip),
}


def augment(name: str, images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply the augmentation of that name to images `(B, C, H, W)`.

    Raises:
        RequestError: If the name is unknown or the inputs are no images.
    """
    if name not in AUGMENTATIONS:
        raise unknown("augmentation", name, AUGMENTATIONS)
    steps = AUGMENTATIONS[name]
    if steps and (not isinstance(images, Tensor) or images.ndim != 4):
        raise RequestError(f"augmentation '{name}' needs images of shape (N, C, H, W)")
    for step in steps:
        images = step(images, generator)
    return images
