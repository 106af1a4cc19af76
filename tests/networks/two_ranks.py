"""What two processes compute together, for `test_parallel`: torchrun runs this file, which writes `rank<number>.pt`."""

import sys
from pathlib import Path

import torch
from torch import nn

from landscape.networks.parallel import launched
from landscape.networks.problem import Problem
from landscape.networks.splits import DataSet, Split
from landscape.networks.training import TrainingRecipe, train
from landscape.networks.windows import language_data
from landscape.networks.zoo.gpt import gpt_nano
from landscape.studies.train import train_to_files

SMALL = {"layers": 1, "width": 8, "heads": 2}


def text():
    """Windows of tokens of which every seventh is no target, so that the ranks have unequal numbers of them."""
    sequence = torch.arange(300) ** 2 % 11
    data = language_data("it", sequence, num_tokens=11, context=8, stride=None, test_fraction=0.2, source="generated")
    targets = data.train.targets.clone()
    targets[:10].flatten()[::7] = -100
    return DataSet("it", Split(data.train.inputs, targets), data.test, num_classes=11, source="generated")


def model():
    """A tiny GPT whose projections are not zero, so that all weights learn from the first step on."""
    torch.manual_seed(0)
    network = gpt_nano((8,), 11, **SMALL)
    network.initialize(0.3, 0.3)
    return network


RECIPES = {
    "tokens": TrainingRecipe("adamw", {"lr": 0.01}, epochs=2, batch_size=7),
    "single samples": TrainingRecipe("sgd", {"lr": 0.1}, epochs=None, steps=5, batch_size=1),
    "closures": TrainingRecipe("lbfgs", {}, epochs=None, steps=2),
    "mixed precision": TrainingRecipe("sgd", {"lr": 0.1}, epochs=1, batch_size=7, precision="bf16"),
    "micro-batches": TrainingRecipe("adamw", {"lr": 0.01}, epochs=2, batch_size=7, micro_batch_size=3),
    "worst points": TrainingRecipe("sam", {"lr": 0.1, "m": 3}, epochs=2, batch_size=7, micro_batch_size=1),
    "diverging": TrainingRecipe("sgd", {"lr": 1e30}, epochs=None, steps=60, batch_size=7),
}


def run(recipe, **arguments):
    """Weights and history of a run."""
    trained = train(model(), text(), recipe, **arguments)
    return {
        "weights": nn.utils.parameters_to_vector(trained.model.parameters()).detach(),
        "rows": trained.history.rows,
        "diverged_at": trained.history.diverged_at,
    }


def main(folder):
    """Compute it all."""
    with launched("cpu") as (ranks, device):
        results = {name: run(recipe, ranks=ranks, device=device) for name, recipe in RECIPES.items()}

        problem = Problem("gpt-nano", "stdlib", model_settings=SMALL, data_settings={"size": 3000, "context": 16})
        recipe = TrainingRecipe(epochs=None, steps=2)
        files = [train_to_files(problem, recipe, folder / "x.safetensors", ranks=ranks) for _ in range(2)]
        results["fresh"] = [part.fresh for part in files]

        own, common, nobody = (nn.Parameter(torch.ones(2)) for _ in range(3))
        common.grad = torch.full((2,), 1.0 + ranks.number)
        if not ranks.first:
            own.grad = torch.ones(2)
        total = ranks.add(torch.tensor(3.0 + ranks.number), [own, common, nobody])
        results["add"] = [total, own.grad, common.grad, nobody.grad]

        results["decide"] = [ranks.decide(lambda: f"said by {ranks.number}")]
        try:
            ranks.decide(lambda: 1 / 0)
        except (ZeroDivisionError, ValueError) as error:
            results["decide"].append(f"{type(error).__name__}: {error}")
        torch.save(results, folder / f"rank{ranks.number}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
