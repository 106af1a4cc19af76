r"""
Connect two networks
====================

Two networks that were trained on the same data from different initialisations seem to sit in separate valleys of the
loss: the straight line between their weights crosses a ridge. Garipov et al. (arXiv 1802.10026) found that a curve with
a single bend gets around it. Here it is on scikit-learn's digits, in about ten seconds on a CPU.
"""

# %%
# Train
# -----
# The weights of a new network are drawn from torch's generator, so the seed is the caller's.
import tempfile
from pathlib import Path

import torch

import landscape

data = landscape.load_data("digits")


def trained(seed: int) -> torch.nn.Module:
    """A trained network with two hidden layers."""
    torch.manual_seed(seed)
    model = landscape.build_model("mlp", data.input_shape, data.num_outputs, {"hidden": (64, 64)})
    recipe = landscape.TrainingRecipe(
        optimizer="sgd", hyperparameters={"lr": 0.1, "momentum": 0.9}, epochs=30, batch_size=128, seed=seed
    )
    return landscape.train(model, data, recipe).model


networks = [trained(seed) for seed in (0, 1)]

# %%
# Look at the straight line
# -------------------------
# An `Objective` is the loss as a function of the parameters, one long vector theta. It works on a copy: the network
# itself is never changed.
objective = landscape.Objective(networks[0], data.train)
ends = torch.stack([objective.theta, landscape.Objective(networks[1], data.train).theta])
line = landscape.Line(ends)
values = objective.values(line(torch.linspace(0, 1, 5)))
print("loss ", values["loss"].round(3))
print("error", values["error"].round(3))

# %%
# Find a way around
# -----------------
# `connect` fits the curves and evaluates loss and error along them and on the plane that each lies in, on the training
# and the test split. Everything goes into a store, from which it could be resumed.
store = Path(tempfile.mkdtemp()) / "connect.zarr"
recipe = landscape.ConnectRecipe(curves=("bezier", "polyline"), plane=15)
tree = landscape.connect(networks, store, recipe, data=data, progress=False)
tree["connect"]["barrier"].sel(pair=0).to_pandas().round(4)

# %%
# Draw
# ----
# The store has all that a figure needs; `landscape show connect.zarr --figure connect.pdf` draws the same.
figure = landscape.draw(tree)

# %%
# Walk
# ----
# A fitted curve is a function from t to parameters. The middle of the Bézier curve is a network as good as its ends,
# though it lies far from both.
curve = landscape.load_curve(store, curve="bezier")
middle = curve(torch.tensor(0.5))
print(objective.evaluate(middle))
print("distance to the ends:", [round(float((middle - end).norm()), 2) for end in ends])
