"""Sharpness in all its forms: one measure per file, each with its definition, units and standard error."""
