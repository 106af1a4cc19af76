"""Dense symmetric matrices with prescribed eigenvalues."""

import numpy as np
import torch


def symmetric(eigenvalues, seed=0, dtype=torch.float64):
    """A matrix with random eigenvectors; its products are those of the rounded matrix in its dtype."""
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    dense = (q * torch.as_tensor(np.asarray(eigenvalues), dtype=torch.float64)) @ q.T
    return ((dense + dense.T) / 2).to(dtype)


def product(matrix):
    """The matrix as an operator."""
    return lambda vector: matrix @ vector


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def network_like(size=300, seed=0):
    """A few outliers, a bulk near 0 with a tail, and a negative part: what Hessians of trained networks look like."""
    rng = np.random.default_rng(seed)
    bulk = size - 7
    negative = bulk // 3
    return np.concatenate(
        [[20, 14, 11, 8, 6.5, 5, 4], rng.exponential(0.1, bulk - negative), -rng.exponential(0.03, negative)]
    )
