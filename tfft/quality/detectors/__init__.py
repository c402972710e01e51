"""Checks of the data; each module registers one under its own name."""
