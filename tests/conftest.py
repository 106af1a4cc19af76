"""What every test shares."""

from hypothesis import settings

# A first call may import torch or zarr, which takes longer than Hypothesis allows one example by default;
# examples are drawn alike in every run, so that a failure can be seen again.
settings.register_profile("landscape", deadline=None, derandomize=True)
settings.load_profile("landscape")
