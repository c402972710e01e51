"""Pretrained backbones: loading, saving, and what the rest needs to know of them."""
