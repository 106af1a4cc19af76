"""The eigenvectors of the Hessian with the largest eigenvalues: the factory of the sweep that finds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from landscape.linalg.lanczos import top_eigenpairs
from landscape.objective.curvature import Hessian
from landscape.studies.grids import Evaluate


def eigenvector_evaluator(arguments: Mapping[str, Any]) -> Evaluate:
    """Find the eigenvectors at one checkpoint: the factory of `Study.eigenvector_sweep`.

    The Hessian is that of the training loss, on the samples and with the BatchNorm policy of the surface.

    Args:
        arguments: `networks`, one for each checkpoint, `labels` of these, and the `seed` of the start.
    """
    networks, labels = arguments["networks"], arguments["labels"]

    def evaluate(coordinates: Mapping[str, Any], task: Any) -> Mapping[str, Any]:
        (checkpoint,) = coordinates["checkpoint"]
        objective = networks[labels.index(checkpoint)].objectives(("train",))["train"]
        hessian = Hessian(objective, objective.theta)
        pairs = top_eigenpairs(
            hessian,
            hessian.dim,
            len(coordinates["direction"]),
            generator=torch.Generator().manual_seed(arguments["seed"]),
            dtype=hessian.dtype,
            device=hessian.device,
        )
        found = {"vector": pairs.vectors, "eigenvalue": pairs.values, "eigenvalue_residual": pairs.residuals}
        return {name: np.asarray(value.cpu())[None] for name, value in found.items()}

    return evaluate
