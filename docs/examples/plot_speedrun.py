r"""
Race optimizers
===============

The NanoGPT speedrun asks how soon an optimizer trains a GPT to a given validation loss. The experiment `speedrun` does
so in small, with every optimizer's learning rate tuned by the same budget. Its full race, on the King James Bible, is
kept in `results/reference`; here is one of a few seconds.
"""

# %%
# A recipe
# --------
# A recipe is data: which GPT on which text, which optimizers with which learning rates, how many batches. Each method
# tries its learning rates once; the best one then runs from further seeds.
import tempfile
from dataclasses import replace
from pathlib import Path

from landscape.experiments import mechanism
from landscape.experiments.speedrun_course import Method

import landscape

speedrun = mechanism.load("speedrun")
methods = (
    Method("sgd", (0.1, 0.3)),
    Method("adamw", (0.01, 0.03)),
    Method("muon", (0.1, 0.3), tied={"adamw_lr": 0.05}),
)
recipe = replace(speedrun.preset("smoke"), methods=methods)

# %%
# Run it
# ------
# A killed race goes on when it is run again.
store = Path(tempfile.mkdtemp()) / "speedrun.zarr"
speedrun.compute(recipe, store, mechanism.Options(engine="serial", progress=False))

# %%
# Look at it
# ----------
# A run that misses the target is marked as such rather than with a number that isn't one.
tree = landscape.open(store)
race = tree["speedrun/race"].to_dataset()
race[["outcome", "steps_to_target"]].to_dataframe()

# %%
# Draw it
# -------
figure = speedrun.figure(tree)
