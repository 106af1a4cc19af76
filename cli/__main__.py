"""`python -m landscape.cli` is `landscape`."""

from .main import main

main()
