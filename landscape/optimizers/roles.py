"""Which method updates which parameter: groups by the role that a parameter plays in its network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape.errors import RequestError, unknown
from landscape.optimizers.parameters import Parameters, Placeholder, groups_of

Role = Literal["hidden", "embedding", "head", "vector"]
ROLES: tuple[Role, ...] = ("hidden", "embedding", "head", "vector")

QKV = r"(^|[._])(qkv|[wW]_?qkv|to_qkv|c_attn|in_proj|query_key_value)($|[._])"
"""Names under which attention keeps its queries, keys and values in one weight."""

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
NORMALIZATIONS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _NormBase)


def roles(model: nn.Module, hidden: str | None = None) -> dict[str, Role]:
    """The role of each parameter that requires a gradient.

    - `vector`: fewer than two axes, or the weight of a normalisation;
    - `embedding`: the weight of an `nn.Embedding`;
    - `head`: an embedding's weight that another layer shares, or else the last of at least two matrices that
      aren't embeddings;
    - `hidden`: every other matrix; a convolution's weight is one.

    Args:
        model: The network.
        hidden: Regular expression, searched in the names: it alone decides which parameters with at least two axes are
            hidden; others that would have been are `head`.

    Returns:
        Role by name, in the order of `model.named_parameters()`.

    Raises:
        RequestError: If the expression is none, or matches no matrix.
    """
    owners: dict[int, list[nn.Module]] = {}
    for module in model.modules():
        for tensor in module._parameters.values():
            if tensor is not None:
                owners.setdefault(id(tensor), []).append(module)
    found: dict[str, Role] = {}
    for name, tensor in model.named_parameters():
        if tensor.requires_grad:
            found[name] = _role(tensor, owners[id(tensor)])
    matrices = [name for name, role in found.items() if role == "hidden"]
    if "head" not in found.values() and len(matrices) > 1:
        found[matrices[-1]] = "head"
    if hidden is not None:
        _override(found, dict(model.named_parameters()), hidden)
    return found


def _role(tensor: Tensor, owners: list[nn.Module]) -> Role:
    """The role of one parameter, but for the last matrix."""
    if tensor.dim() < 2 or any(isinstance(owner, NORMALIZATIONS) for owner in owners):
        return "vector"
    embeds = [isinstance(owner, EMBEDDINGS) for owner in owners]
    if not any(embeds):
        return "hidden"
    return "embedding" if all(embeds) else "head"


def _override(found: dict[str, Role], parameters: Mapping[str, Tensor], hidden: str) -> None:
    """Let an expression decide which matrices are hidden."""
    expression = compile_pattern("hidden", hidden)
    matrices = [name for name in found if parameters[name].dim() > 1]
    names = [name for name in matrices if expression.search(name)]
    if not names:
        shown = ", ".join(matrices[:8]) + (", …" if len(matrices) > 8 else "")
        raise RequestError(
            f"hidden={hidden!r} matches no matrix: choose among {shown or 'none, there are no matrices'}"
        )
    for name, role in found.items():
        if name in names:
            found[name] = "hidden"
        elif role == "hidden":
            found[name] = "head"


def compile_pattern(setting: str, pattern: str) -> re.Pattern[str]:
    """A setting's regular expression; one that is none raises `RequestError`."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RequestError(f"{setting}={pattern!r} is no regular expression: {error}") from error


def split_by_role(
    model: Parameters,
    options: Mapping[Role, Mapping[str, Any]],
    *,
    hidden: str | None = None,
    qkv: str | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups by role.

    Of a module each parameter's role is known. Of bare tensors and of groups without a `role` or a `norm` of their
    own, only the number of axes is: at least two make a `hidden` matrix, fewer a `vector`. A group with a `norm` stays
    whole.

    Args:
        model: A module, tensors, or groups. A group may name its `role`; its other options replace those of the role.
        options: The groups' options, by role.
        hidden: Overrides which of a module's matrices are hidden; see `roles`.
        qkv: Regular expression of the names of a module's fused weights of queries, keys and values: a matching
            matrix of shape `(3 d, d)` gets `parts=3`, so that it counts as three matrices.

    Returns:
        Groups with `params` and options. Those of a module hold `(name, tensor)` pairs.

    Raises:
        RequestError: If an expression is none, or `hidden` matches no matrix or is given without a module.
    """
    for setting, pattern in (("hidden", hidden), ("qkv", qkv)):
        if pattern is not None:
            compile_pattern(setting, pattern)
    if not isinstance(model, nn.Module):
        if hidden is not None:
            raise RequestError("hidden=… is about the names of parameters: give the module, not its tensors")
        return [part for group in groups_of(model) for part in _split_group(group, options)]
    groups_of(model)  # refuses a model with nothing to train
    parts: dict[tuple[Role, int], list[tuple[str, Tensor]]] = {}
    found, parameters = roles(model, None if isinstance(model, Placeholder) else hidden), dict(model.named_parameters())
    for name, role in found.items():
        fused = role == "hidden" and qkv is not None and _is_fused(name, parameters[name], qkv)
        parts.setdefault((role, 3 if fused else 1), []).append((name, parameters[name]))
    return [
        {"params": parts[key], **options[key[0]], **({"parts": key[1]} if key[1] > 1 else {})}
        for key in sorted(parts, key=lambda key: (ROLES.index(key[0]), key[1]))
    ]


def _is_fused(name: str, tensor: Tensor, pattern: str) -> bool:
    """Whether a weight stacks those of queries, keys and values."""
    return tensor.dim() == 2 and len(tensor) == 3 * tensor.shape[1] and re.search(pattern, name) is not None


def _split_group(group: dict[str, Any], options: Mapping[Role, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A group of tensors by role; whole if it says what it is."""
    own = {name: value for name, value in group.items() if name not in ("params", "role")}
    if "norm" in group:
        base = next((one for one in options.values() if one.get("norm") == group["norm"]), {})
        yield {"params": group["params"], **base, **own}
        return
    if "role" in group:
        if group["role"] not in ROLES:
            raise unknown("role of a parameter group", str(group["role"]), ROLES)
        yield {"params": group["params"], **options[group["role"]], **own}
        return
    split: dict[Role, list[Tensor]] = {"hidden": [], "vector": []}
    for tensor in group["params"]:
        split["hidden" if tensor.dim() > 1 else "vector"].append(tensor)
    for role, tensors in split.items():
        if tensors:
            yield {"params": tensors, **options[role], **own}


def as_matrices(tensor: Tensor, parts: int = 1) -> Tensor:
    """A weight as matrices `(parts, rows, columns)`; a convolution `(out, in, *kernel)` has in · kernel columns."""
    return tensor.reshape(parts, len(tensor) // parts, -1)
