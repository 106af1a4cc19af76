"""Sharpness: measures at networks, stored."""
