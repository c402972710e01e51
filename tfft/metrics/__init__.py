"""Figures over whole splits."""
