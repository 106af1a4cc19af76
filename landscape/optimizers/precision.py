"""In which dtype a method of matrix products computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

WorkingType = Literal["auto", "bfloat16", "float32", "float64"]
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def working_dtype(group: Mapping[str, Any], moments: Tensor) -> torch.dtype:
    """In which dtype to compute polar factors."""
    if group["dtype"] != "auto":
        return DTYPES[group["dtype"]]
    if group["method"] == "svd" or moments.dtype == torch.float64:
        return torch.promote_types(moments.dtype, torch.float32)
    return torch.bfloat16 if multiplies_bfloat16_fast(moments.device) else torch.float32


def multiplies_bfloat16_fast(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16 matrices, as torch reports."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0) or torch.version.hip is not None
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    asked = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in asked)
