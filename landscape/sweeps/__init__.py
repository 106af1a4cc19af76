"""The engine room: a function mapped over a labelled grid, stored as it goes, resumable at any moment."""
