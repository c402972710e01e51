"""The weights that a quantized layer computes with, as floats."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfft.core.errors import ConfigError


def float_kernel(layer: Any) -> Any:
    """Returns the kernel of a `Dense`, `EinsumDense` or `Embedding`, quantized or not.

    Args:
        layer: A built layer.

    Returns:
        A float32 tensor of the kernel's shape before quantization: stored integers, divided by their scales.

    Raises:
        ConfigError: When the layer is quantized in a way whose weights Keras does not give back.
    """
    table = isinstance(layer, keras.layers.Embedding)
    stored = layer._embeddings if table else layer._kernel
    mode = getattr(layer, "quantization_mode", None)
    if mode is None:
        return ops.cast(stored.value, "float32")
    if mode not in ("int8", "int4"):
        raise ConfigError(f"{layer.path!r} is quantized ({mode}); this method works on int8 and int4.")
    scale = ops.cast((layer.embeddings_scale if table else layer.kernel_scale).value, "float32")
    if mode == "int8":
        if isinstance(layer, keras.layers.EinsumDense):
            scale = layer._adjust_scale_for_dequant(scale)
        return ops.cast(stored.value, "float32") / (ops.expand_dims(scale, -1) if table else scale)
    columns = (
        layer._int4_unpacked_column_size if isinstance(layer, keras.layers.EinsumDense) else layer._orig_output_dim
    )
    integers = ops.cast(keras.quantizers.unpack_int4(stored.value, columns, axis=-1), "float32")
    if layer._int4_block_size in (None, -1):
        floats = integers / (ops.expand_dims(scale, -1) if table else scale)
    else:  # a scale and a zero point for each block of rows (of a table: of columns)
        axis = -1 if table else 0
        zero = ops.cast((layer.embeddings_zero if table else layer.kernel_zero).value, "float32")
        blocks = ops.cast(layer.g_idx.value, "int32")
        floats = (integers - ops.take(zero, blocks, axis=axis)) * ops.take(scale, blocks, axis=axis)
    return ops.reshape(floats, getattr(layer, "original_kernel_shape", None) or floats.shape)
