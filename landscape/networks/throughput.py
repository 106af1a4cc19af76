r"""How much of a device a language model uses: operations for each token, and the device's peak.

Training takes for each token and parameter a multiplication and an addition forward and twice as many backward, and
attention its products of queries with keys and of weights with values:

.. math:: C = 6 N + 12\, L\, d\, T

operations for `N` parameters, `L` layers of width `d` and a context of `T` tokens; the mask of attention, norms,
activations and the optimizer are not counted.

References:
    Chowdhery et al., "PaLM: scaling language modeling with Pathways", arXiv 2204.02311, appendix B (there
    :math:`12 L H Q T` with :math:`H Q = d`).
"""

from __future__ import annotations

from torch import nn

from landscape.errors import RequestError
from landscape.networks.zoo.gpt import GPT

PEAKS: dict[str, float] = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
}
"""Dense bf16 operations per second by the name under which CUDA knows the device; the makers' data sheets."""


def find_peak(device_name: str, precision: str) -> float | None:
    """Operations per second that a device can do at most; None if that isn't known.

    Args:
        device_name: As `torch.cuda.get_device_name` says it.
        precision: As in a training recipe; the peaks of `bf16` and `fp16` are equal, others aren't listed.
    """
    return PEAKS.get(device_name) if precision in ("bf16", "fp16") else None


def matmul_parameters(model: nn.Module) -> int:
    """The parameters that are multiplied by each token: all but embeddings, which are looked up.

    An embedding whose weight is the head's too counts, once.
    """
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    used = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    return sum(tensor.numel() for tensor in model.parameters() if id(tensor) not in looked_up - used)


def operations_per_token(model: nn.Module, context: int) -> float:
    """The operations of a training step for each token, `C` above.

    Args:
        model: A GPT of this package.
        context: Tokens in a window.

    Raises:
        RequestError: If the model is another one.
    """
    if not isinstance(model, GPT):
        raise RequestError(
            f"operations per token are known of GPTs only, not of a {type(model).__name__}: take the model gpt-nano, "
            "gpt2-124m or modern-124m"
        )
    attention = 12.0 * len(model.blocks) * model.embedding.embedding_dim * context
    return 6.0 * matmul_parameters(model) + attention
