"""What the forward pass is computed in.

Parameters, statistics and the loss are float32 (float64 for `float64`) whatever is chosen: `bf16` rounds what goes into
matrix products and convolutions to bfloat16 (torch's autocast), `tf32` to TF32 on CUDA's tensor cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from landscape.errors import RequestError, unknown
from landscape.objective.samples import map_tensors

PRECISIONS = ("float32", "float64", "bf16", "tf32")
ROUGH = {"bf16": 5e-2, "tf32": 5e-3}
"""Precisions whose rounding is no more than so far from float32's, relative to the largest output."""


def check_precision(name: str | None, device: str) -> None:
    """Refuse what isn't there.

    Args:
        name: One of `PRECISIONS`, or None for the model's own.
        device: Where it is to be computed.

    Raises:
        RequestError: If it is unknown, or the device doesn't have it.
    """
    if name is not None and name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)
    if name == "tf32" and not device.startswith("cuda"):
        raise RequestError(f"precision tf32 is a mode of CUDA's tensor cores, not of '{device}': use float32 or bf16")


def dtype_of(name: str | None) -> torch.dtype | None:
    """The dtype of parameters and loss; None for the model's own."""
    return None if name is None else torch.float64 if name == "float64" else torch.float32


def computing(name: str | None, device: torch.device) -> AbstractContextManager[None]:
    """A forward pass in some precision."""
    if name == "bf16":
        return _autocast(device)
    return _products(tf32=name == "tf32") if device.type == "cuda" and name is not None else nullcontext()


def widened(outputs: Any) -> Any:
    """Outputs of a rough precision as the loss sees them, in float32."""
    return map_tensors(_widen, outputs)


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


@contextmanager
def _autocast(device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):  # parameters are written in place
        yield


@contextmanager
def _products(*, tf32: bool) -> Iterator[None]:
    """CUDA's products with or without TF32; torch's own settings are put back."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
