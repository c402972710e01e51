"""Heads on top of backbone features, one file each."""
