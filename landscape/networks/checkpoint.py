"""Checkpoints: the only place that opens a weights file.

The native form is safetensors with the recipe as JSON in its header, so that a checkpoint says by itself which network,
data and loss it belongs to. Files of others are read as well, and never run code.
"""

from __future__ import annotations

import glob
import io
import json
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from landscape.errors import RequestError, reason
from landscape.objective.module import copy_module

HEADER = "landscape"
LONGEST_PICKLE = 1 << 26
"""Bytes of a refused pickle that are searched for the types it names."""
NESTINGS = ("state_dict", "model_state_dict", "model", "module", "net")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


@dataclass(frozen=True)
class Checkpoint:
    """Weights and buffers as read from a file.

    Args:
        name: What to call it: the file's name.
        state: Tensors by name, as in the file.
        recipe: How it was made, if `landscape` made it.
    """

    name: str
    state: Mapping[str, Tensor]
    recipe: Mapping[str, Any] | None = None


def save_checkpoint(path: Path, model: nn.Module, recipe: Mapping[str, Any]) -> None:
    """Write a network's state and its recipe, replacing the file in one step.

    Args:
        path: The file, usually `*.safetensors`.
        model: Its `state_dict` is stored; tied tensors once under each name.
        recipe: Anything that JSON can hold.

    Raises:
        RequestError: If the file can't be written there.
    """
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    for stale in path.parent.glob(glob.escape(f".{path.name}.") + "*.partial"):  # of a run that was killed
        stale.unlink()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(save(tensors, metadata={HEADER: json.dumps(recipe, sort_keys=True)}))
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise RequestError(f"checkpoint {path} can't be written: {reason(error)}") from error


def read_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe in a native checkpoint's header; None for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER)
    except (SafetensorError, OSError):
        return None
    recipe: dict[str, Any] | None = json.loads(text) if text else None
    return recipe


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint: safetensors, a PyTorch file holding tensors (`.pt`, `.pth`, Lightning's `.ckpt`), or `.npz`.

    PyTorch files are read with `weights_only=True`; the state dict may be nested under one of the usual names. NumPy's
    archives hold one array for each tensor.

    Args:
        path: The file.

    Raises:
        RequestError: If it is missing, empty, truncated, no checkpoint, or would run code.
    """
    path = Path(path)
    if not path.is_file():
        kind = "is a folder, not a checkpoint file" if path.is_dir() else "does not exist"
        raise RequestError(f"checkpoint {path} {kind}; expected .safetensors, .pt, .pth, .ckpt or .npz")
    if path.stat().st_size == 0:
        raise RequestError(f"checkpoint {path} is empty (0 bytes): write it again")
    try:
        if _is_safetensors(path):
            state, recipe = _read_safetensors(path)
        else:
            state, recipe = _read_npz(path) if path.suffix == ".npz" else _read_torch(path), None
    except OSError as error:
        raise RequestError(f"checkpoint {path} can't be read: {reason(error)}") from error
    return Checkpoint(path.name, state, recipe)


def load_into(model: nn.Module, checkpoint: Checkpoint) -> nn.Module:
    """A copy of a model with a checkpoint's weights and buffers.

    Names are matched after stripping the prefixes that wrappers leave (`module.`, `_orig_mod.`, `model.`, `net.`). Of
    a tensor that the model has under several names, the file may hold one.

    Args:
        model: The architecture; only read.
        checkpoint: The weights.

    Raises:
        RequestError: If the tensors don't fit, naming the first one that differs, or weights are not finite.
    """
    expected = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}
    for name, tensor in expected.items():
        names.setdefault(id(tensor), []).append(name)
    state = strip_prefixes(checkpoint.state, set(expected))
    for name, tensor in expected.items():
        twin = next((other for other in names[id(tensor)] if other in state), None)
        if name not in state and twin is not None:
            state[name] = state[twin]
        if name not in state:
            if name.endswith("num_batches_tracked"):  # files older than PyTorch 0.4.1 lack it
                state[name] = tensor
                continue
            raise RequestError(_misfit(checkpoint.name, f"has no '{name}' {tuple(tensor.shape)}", state))
        if state[name].shape != tensor.shape:
            difference = f"'{name}' is {tuple(state[name].shape)} but the model's is {tuple(tensor.shape)}"
            raise RequestError(f"checkpoint {checkpoint.name} is of another architecture: {difference}")
        # Buffers may hold -inf on purpose, as attention masks do.
        if not bool((state[name].isfinite() if isinstance(tensor, nn.Parameter) else ~state[name].isnan()).all()):
            raise RequestError(
                f"checkpoint {checkpoint.name}: '{name}' holds values that are not finite; the run diverged"
            )
    surplus = [name for name in state if name not in expected]
    if surplus:
        raise RequestError(
            f"checkpoint {checkpoint.name} is of another architecture: it holds '{surplus[0]}' "
            f"{tuple(state[surplus[0]].shape)}, which the model lacks"
        )
    result = copy_module(model)
    result.load_state_dict(state)
    return result


def _misfit(name: str, difference: str, state: Mapping[str, Tensor]) -> str:
    return f"checkpoint {name} is of another architecture: it {difference}; its first tensor is '{next(iter(state))}'"


def strip_prefixes(state: Mapping[str, Tensor], expected: set[str]) -> dict[str, Tensor]:
    """Take wrappers' prefixes off the names for as long as that brings them nearer to the model's.

    Where only the names behind a prefix are wanted (a Lightning module holds its metrics beside `model.`), the rest is
    left out.
    """
    result = dict(state)
    while not expected & set(result):
        for prefix in PREFIXES:
            inner = {name[len(prefix) :]: value for name, value in result.items() if name.startswith(prefix)}
            if inner and (len(inner) == len(result) or expected <= set(inner)):
                result = inner
                break
        else:
            return result
    return result


def _is_safetensors(path: Path) -> bool:
    """Safetensors begin with the header's length (8 bytes) and the header's brace."""
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or (len(start) == 9 and start[8:] == b"{" and start[:2] != b"PK")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            text = (file.metadata() or {}).get(HEADER)
    except (SafetensorError, OSError) as error:
        raise RequestError(f"checkpoint {path} is truncated or no safetensors file: {reason(error)}") from error
    if not state:
        raise RequestError(f"checkpoint {path} holds no tensors")
    return state, json.loads(text) if text else None


def _read_npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.asarray(archive[name])) for name in archive.files}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RequestError(f"checkpoint {path} is no NumPy archive of tensors by name: {reason(error)}") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols and TorchScript: what matters is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can make its reader stumble over anything
        if isinstance(error, pickle.UnpicklingError) and (message := _refusal(path, str(error))):
            raise RequestError(message) from error
        raise RequestError(f"checkpoint {path} is truncated or no PyTorch file ({type(error).__name__})") from error
    return _find_state(path, content)


def _refusal(path: Path, message: str) -> str | None:
    """Say which type a pickle held, as the restricted unpickler named it, or as the pickle itself does."""
    found = re.search(r"GLOBAL ([\w.]+)", message)
    name = found.group(1) if found else next(_named_types(path), None)
    if name is None:
        return None
    return (
        f"checkpoint {path} is refused: it holds {name}, and loading that could run code; save model.state_dict() alone"
    )


def _named_types(path: Path) -> Iterator[str]:
    """The types and functions that a bare pickle names, read without being loaded."""
    texts: list[str] = []
    try:
        with path.open("rb") as file:  # a copy in memory, since a file allocates whatever length a pickle claims
            start = io.BytesIO(file.read(LONGEST_PICKLE))
        for code, argument, _ in pickletools.genops(start):
            if code.name in ("GLOBAL", "INST"):
                yield str(argument).replace(" ", ".")
            elif code.name == "STACK_GLOBAL" and len(texts) > 1:
                yield ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
    except (ValueError, EOFError, OverflowError):
        return


def _find_state(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict in what a file held, at the top or under a usual name."""
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors and len(tensors) == len(content):
            return tensors
        for nesting in NESTINGS:
            if isinstance(content.get(nesting), Mapping):
                return _find_state(path, content[nesting])
        if tensors:
            return tensors
        got = f"a dictionary with {', '.join(map(repr, list(content)[:5])) or 'nothing in it'}"
    else:
        got = f"a {type(content).__name__}"
    raise RequestError(f"checkpoint {path} holds {got}; expected a state_dict (tensors by name)")
