"""Errors, registries, files and tag schemes; standard library only."""
