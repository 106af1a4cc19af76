"""Figures of the literature: one file each, with a frozen recipe, `run(recipe)` and `figure(store)`."""
