"""The networks of an experiment: one for each seed, trained beside its store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from landscape.networks.problem import Problem
from landscape.networks.training import TrainingRecipe
from landscape.studies.train import train_to_files

from .mechanism import Options


def train_seeds(
    problem: Problem, training: TrainingRecipe, seeds: Sequence[int], path: Path, options: Options
) -> list[Path]:
    """Train a network from each seed, or find it trained; a killed run goes on.

    Args:
        problem: Network and data.
        training: How each is trained; its seed is replaced.
        seeds: One network each.
        path: The experiment's store, beside which `<name>-seed0.safetensors` and so on are written.
        options: Where to compute and what to show.

    Returns:
        The checkpoints, in the order of the seeds.
    """
    files = [path.with_name(f"{path.stem}-seed{seed}.safetensors") for seed in seeds]
    for seed, file in zip(seeds, files, strict=True):
        train_to_files(
            problem,
            replace(training, seed=seed),
            file,
            data_dir=options.data_dir,
            device=options.device,
            progress=options.progress,
        )
    return files
