"""Errors, registries and files; standard library only."""
