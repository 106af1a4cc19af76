"""Measured claims: each file is run by `python -m landscape.experiments.benchmarks.NAME [--json]`."""
