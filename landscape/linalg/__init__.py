"""Algorithms on bare tensors: norms with their duals and linear minimisation oracles, polar factors, roots."""
