"""Layers and modules that Keras and KerasHub lack."""
