"""Kinds of data source, one file each."""
