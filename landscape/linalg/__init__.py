"""Algorithms on bare tensors and matrix–vector products: norms and their oracles, polar factors, roots, spectra."""
