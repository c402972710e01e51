"""Loading a preset without first drawing the random weights that its file replaces."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

#: Initializers that draw; zeros and ones cost nothing, and some weights are meant to stay at them.
_DRAWING = (
    keras.initializers.RandomNormal,
    keras.initializers.TruncatedNormal,
    keras.initializers.RandomUniform,
    keras.initializers.VarianceScaling,
    keras.initializers.Orthogonal,
)
_creation = threading.Lock()


def loaded_without_drawing(load: Callable[[], keras.Model], preset: str) -> keras.Model:
    """Loads a model whose weights come from files: drawing them first takes as long as the rest of the loading.

    Weights are created as the lowest number there is, which no files are full of (of NaN they may be, and stay so).
    Those that the files left so are drawn afterwards, as they would have been, and named: KerasHub says nothing.

    Args:
        load: Creates the model and reads its weights.
        preset: Its name, for the warning.

    Returns:
        The model.

    Warns:
        UserWarning: When the files hold no values for some weights.
    """
    blank: list[tuple[Any, Any]] = []
    owner = threading.get_ident()
    own: Any = keras.Variable._initialize_with_initializer

    def initialize(variable: Any, initializer: Any) -> None:
        if threading.get_ident() != owner or not isinstance(initializer, _DRAWING):
            own(variable, initializer)
            return
        blank.append((variable, initializer))
        own(variable, lambda shape, dtype: tf.fill(shape, tf.constant(tf.as_dtype(dtype).min, dtype)))

    with _creation:
        keras.Variable._initialize_with_initializer = initialize
        try:
            model = load()
        finally:
            keras.Variable._initialize_with_initializer = own
    missing = [item for item in blank if _is_blank(item[0])]
    for variable, initializer in missing:
        variable.assign(initializer(variable.shape, dtype=variable.dtype))
    if missing:
        names = ", ".join(variable.path for variable, _ in missing)
        warnings.warn(f"The files of {preset!r} hold no values for {names}: they begin at random.", stacklevel=2)
    return model


def _is_blank(variable: Any) -> bool:
    value = tf.convert_to_tensor(variable.value)
    return bool(tf.reduce_all(value == value.dtype.min))
