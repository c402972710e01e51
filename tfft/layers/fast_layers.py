"""The same layers in less time and memory on a CPU: attention, GELU, normalisation, dropout with own gradients.

TensorFlow keeps most intermediate results of these for the backward pass, and goes over each again there. Here the
backward passes are written down, so that few and small tensors are kept. What they compute anew waits for the gradient:
TensorFlow would compute it during the forward pass, or take the equal tensor from there, and keep it. Variables, names,
configs and saved files stay as they are: only the computation of single layer objects is replaced.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

#: What can be replaced.
PARTS = ("attention", "gelu", "normalization", "dropout")

#: Dropout decides each number by 16 random bits, a quarter of the word that the generator gives.
_BITS = 16
_BITS_A_WORD = 64
#: Of the GELU with tanh, whose `1 + tanh(u)` is `2 * sigmoid(2 * u)`.
_SIGMOID_SCALE = 2.0 * math.sqrt(2.0 / math.pi)
_SIGMOID_CUBIC = 0.044715 * _SIGMOID_SCALE
#: Largest difference between an activation and the formula it is taken for; the two GELUs differ by 5e-4.
_SAME_ACTIVATION = 1e-5
#: What Keras runs of a layer.
_RUN = {"call", "quantized_call"}
#: Where a layer keeps its replacement, which something else may hide.
_PLACE = "_tfft_fast"
_ATTENTION_RANK = 4
_MASKED = -1e9


def speed_up(layers: Iterable[Any], *, parts: Collection[str] = PARTS) -> list[Any]:
    """Replaces the computation of layers by an equal one that costs less on a CPU.

    Outputs and gradients are equal up to rounding. Dropout draws other masks of the same distribution from the layer's
    own seeds, its rate rounded to 1/65536. Replaced are, where nothing about them is out of the ordinary:

    - `MultiHeadAttention`, between its projections: the row sums in the gradient of the softmax are taken over the
      head's size instead of the sequence (Dao et al. 2022, FlashAttention, appendix B.2), and masking takes one pass.
    - `Dense` with a GELU (Hendrycks & Gimpel 2016), exact or with tanh: of the activation only its input is kept.
    - `LayerNormalization` over the last axis (Ba et al. 2016): of it the normalised values are kept.
    - `Dropout`: half the random numbers, and one byte kept for each.

    Layers whose computation something else stands for already, such as an adapter, are left alone. What is put on a
    layer afterwards calls the fast form.

    Gradients of gradients are not supported.

    Args:
        layers: Built layers or models; the layers inside them are meant too.
        parts: Which of `PARTS` to replace.

    Returns:
        The layers whose computation was replaced; all others are as they were.
    """
    changed = []
    for outer in layers:
        for layer in _all_layers(outer):
            part = _part(layer)
            if part is None or part not in parts or _is_replaced(layer):
                continue
            # An attribute of the object hides the method of its class.
            name = "_compute_attention" if part == "attention" else "call"
            setattr(layer, name, _Replacement(layer, name, _CALLS[part](layer)))
            changed.append(layer)
    return changed


def restore(layers: Iterable[Any]) -> None:
    """Gives layers their own computation back.

    Args:
        layers: As for `speed_up`; those that it left alone stay as they are.
    """
    for outer in layers:
        for layer in filter(_is_replaced, _all_layers(outer)):
            vars(layer)[_PLACE].restore()


class _Replacement:
    """A computation that `restore` knows again."""

    def __init__(self, layer: Any, name: str, compute: Callable[..., Any]) -> None:
        self._layer = layer
        self._name = name
        self._compute = compute
        vars(layer)[_PLACE] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._compute(*args, **kwargs)

    @property
    def is_seen(self) -> bool:
        """Whether the layer calls this, and not something that stands for it since."""
        return vars(self._layer).get(self._name) is self

    def restore(self) -> None:
        seen = self.is_seen
        del vars(self._layer)[_PLACE]
        if seen:
            delattr(self._layer, self._name)
        else:  # something else stands for it since, and calls this
            self._compute = functools.partial(getattr(type(self._layer), self._name), self._layer)


def is_fast(layer: Any) -> bool:
    """Tells whether a layer computes in the fast form, and nothing else stands for it."""
    replacement = vars(layer).get(_PLACE)
    return replacement is not None and replacement.is_seen


def _all_layers(outer: Any) -> Iterator[Any]:
    yield from outer._flatten_layers()  # Keras has no public name for it


def _is_replaced(layer: Any) -> bool:
    return _PLACE in vars(layer)


def _part(layer: Any) -> str | None:
    """Tells which part a layer is; None for one that is to be left alone, as subclasses are."""
    kind = type(layer)
    own = vars(layer).keys() & ({"_compute_attention"} if kind is keras.layers.MultiHeadAttention else _RUN)
    if own or getattr(layer, "quantization_mode", None) is not None:
        return None
    if kind is keras.layers.MultiHeadAttention:
        known = ("_compute_attention", "_softmax", "_dropout_layer", "_inverse_sqrt_key_dim", "_dropout")
        known_inside = all(hasattr(layer, name) for name in known)
        return "attention" if known_inside and getattr(layer, "_attention_axes", None) == (1,) else None
    if kind is keras.layers.Dense:
        return "gelu" if _gelu_twin(layer.activation) is not None else None
    if kind is keras.layers.Dropout:
        return "dropout" if 0 < layer.rate < 1 and layer.noise_shape is None else None
    if kind is keras.layers.LayerNormalization:
        return "normalization" if _plain_normalization(layer) else None
    return None


def _plain_normalization(layer: Any) -> bool:
    plain = layer.center and layer.scale and not getattr(layer, "rms_scaling", False)
    return bool(layer.built and plain and layer.axis in (-1, [-1]))


def _attention(layer: Any) -> Callable[..., Any]:
    original = layer._compute_attention

    def compute(
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        if return_attention_scores or use_causal_mask or len(query.shape) != _ATTENTION_RANK or layer._flash_attention:
            options = {"use_causal_mask": True} if use_causal_mask else {}
            return original(query, key, value, attention_mask, training, return_attention_scores, **options)
        query, key, value = (tf.transpose(item, [0, 2, 1, 3]) for item in (query, key, value))
        scale, bias, factor = tf.cast(layer._inverse_sqrt_key_dim, query.dtype), None, tf.ones([], query.dtype)
        if attention_mask is not None:
            mask = tf.cast(attention_mask, tf.bool)
            while len(mask.shape) < _ATTENTION_RANK:
                mask = tf.expand_dims(mask, -3)
            bias = tf.where(mask, 0.0, _MASKED)
            seen = tf.cast(tf.reduce_any(mask, axis=-1, keepdims=True), query.dtype)
            scale *= seen  # a query that sees no key gets no gradient
            if layer._dropout > 0.0:  # it gives zeros then, where Keras without dropout gives a mean
                factor *= seen
        query *= scale
        keep = None
        if training and layer._dropout > 0.0:
            shape = tf.stack([*tf.unstack(tf.shape(query)[:3]), tf.shape(key)[2]])
            keep, kept = _keep(shape, layer._dropout, layer._dropout_layer.seed_generator)
            factor *= tf.cast(kept, query.dtype)
        return _attend(query, key, value, bias, keep, factor), None

    return compute


def _attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    bias: tf.Tensor | None,
    keep: tf.Tensor | None,
    factor: tf.Tensor,
) -> tf.Tensor:
    """Computes `factor * dropout(softmax(query @ key.T + bias)) @ value`, with `(batch, heads, length, size)` of each.

    The result is `(batch, length, heads, size)`, as the next layer takes it: both backward passes need it, and so it is
    kept once. With `o` the output and `g` its gradient, the sum over keys of `p * dp` is the sum over the head's size
    of `g * o`.
    """

    def dropped(values: tf.Tensor) -> tf.Tensor:
        return values if keep is None else tf.where(keep, values, tf.zeros([], values.dtype))

    @tf.custom_gradient
    def run(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> Any:
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)
        shares = tf.cast(tf.nn.softmax(scores if bias is None else scores + bias), query.dtype)
        outputs = tf.transpose(tf.matmul(dropped(shares), value) * factor, [0, 2, 1, 3])

        def backward(gradient: tf.Tensor) -> tuple[tf.Tensor, ...]:
            total = tf.transpose(tf.reduce_sum(gradient * outputs, axis=-1, keepdims=True), [0, 2, 1, 3])
            gradient = tf.transpose(gradient, [0, 2, 1, 3]) * factor
            of_scores = shares * (dropped(tf.matmul(gradient, value, transpose_b=True)) - total)
            with tf.control_dependencies([of_scores]):
                again = dropped(shares)
            return (
                tf.matmul(of_scores, key),
                tf.matmul(of_scores, query, transpose_a=True),
                tf.matmul(again, gradient, transpose_a=True),
            )

        return outputs, backward

    return run(query, key, value)


def _normalization(layer: Any) -> Callable[..., Any]:
    def call(inputs: Any) -> Any:
        # In float32 at least, as Keras does.
        wide = tf.cast(inputs, keras.backend.result_type(inputs.dtype.name, "float32"))
        gamma, beta = (tf.cast(tf.convert_to_tensor(item), wide.dtype) for item in (layer.gamma, layer.beta))
        return tf.cast(_normalize(wide, gamma, beta, layer.epsilon), inputs.dtype)

    return call


def _normalize(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Computes `gamma * (x - mean) / sqrt(variance + epsilon) + beta` over the last axis."""

    @tf.custom_gradient
    def run(inputs: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> Any:
        centred = inputs - tf.reduce_mean(inputs, axis=-1, keepdims=True)
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True) + epsilon)
        normal = centred * inverse

        def backward(gradient: tf.Tensor) -> tuple[tf.Tensor, ...]:
            scaled, of_gamma = gradient * gamma, gradient * normal
            along = tf.reduce_mean(of_gamma * gamma, axis=-1, keepdims=True)
            of_inputs = inverse * (scaled - tf.reduce_mean(scaled, axis=-1, keepdims=True) - normal * along)
            return (
                of_inputs,
                tf.raw_ops.BiasAddGrad(out_backprop=of_gamma),
                tf.raw_ops.BiasAddGrad(out_backprop=gradient),
            )

        return tf.nn.bias_add(normal * gamma, beta), backward

    return run(inputs, gamma, beta)


def _dropout(layer: Any) -> Callable[..., Any]:
    def call(inputs: Any, training: bool | None = False) -> Any:
        if not training:
            return inputs
        keep, scale = _keep(tf.shape(inputs), layer.rate, layer.seed_generator)

        @tf.custom_gradient
        def run(values: tf.Tensor) -> Any:
            def drop(values: tf.Tensor) -> tf.Tensor:
                return tf.where(keep, values, tf.zeros([], values.dtype)) * tf.cast(scale, values.dtype)

            return drop(values), drop

        return tf.ensure_shape(run(inputs), inputs.shape)

    return call


def _keep(shape: tf.Tensor, rate: float, generator: Any) -> tuple[tf.Tensor, float]:
    """Draws what dropout keeps.

    Args:
        shape: Shape of the tensor, int32 of shape `(rank,)`.
        rate: Dropout rate.
        generator: The layer's seed generator.

    Returns:
        Booleans of that shape, and the factor of what is kept.
    """
    seed = tf.cast(tf.math.floormod(generator.next(), tf.int32.max - 1), tf.int32)  # as Keras makes it from the state
    each = _BITS_A_WORD // _BITS
    size = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform([-(-size // each)], seed, minval=None, maxval=None, dtype=tf.uint64)
    bits = tf.reshape(tf.reshape(tf.bitcast(words, tf.int16), [-1])[:size], shape)
    dropped = round(rate * 2**_BITS)
    lowest = -(2 ** (_BITS - 1))
    return bits >= tf.constant(lowest + dropped, tf.int16), 1.0 / (1.0 - dropped / 2**_BITS)


def _dense_gelu(layer: Any) -> Callable[..., Any]:
    twin = _gelu_twin(layer.activation)

    def call(inputs: Any, training: bool | None = None) -> Any:
        del training
        outputs = keras.ops.matmul(inputs, layer.kernel)
        if layer.bias is not None:
            outputs = keras.ops.add(outputs, layer.bias)
        return (twin or layer.activation)(outputs)

    return call


def _gelu_twin(activation: Any) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """Returns the fast form of an activation that is a GELU by its name and by its values."""
    if "gelu" not in getattr(activation, "__name__", ""):
        return None
    twins: list[Callable[[tf.Tensor], tf.Tensor]] = [_tanh_gelu, _erf_gelu]
    points = tf.constant(np.linspace(-6.0, 6.0, 49), tf.float32)
    wanted = np.asarray(activation(points))
    for twin in twins:
        if np.abs(wanted - np.asarray(twin(points))).max() < _SAME_ACTIVATION:
            return twin
    return None


@tf.custom_gradient
def _tanh_gelu(inputs: tf.Tensor) -> Any:
    """Computes `x / 2 * (1 + tanh(u))`, `u = sqrt(2 / pi) * (x + 0.044715 * x**3)`, as `x * sigmoid(2 * u)`."""

    def share(squared: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(inputs * (squared * _SIGMOID_CUBIC + _SIGMOID_SCALE))

    outputs = inputs * share(tf.square(inputs))

    def backward(gradient: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([gradient]):
            squared = tf.square(inputs)
        kept = share(squared)
        slope = squared * (3.0 * _SIGMOID_CUBIC) + _SIGMOID_SCALE
        return gradient * (kept + tf.raw_ops.SigmoidGrad(y=kept, dy=inputs * slope))

    return outputs, backward


@tf.custom_gradient
def _erf_gelu(inputs: tf.Tensor) -> Any:
    """Computes `x / 2 * (1 + erf(x / sqrt(2)))`."""

    def share() -> tf.Tensor:
        return 0.5 * tf.math.erf(inputs * math.sqrt(0.5)) + 0.5

    outputs = inputs * share()

    def backward(gradient: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([gradient]):
            density = tf.exp(tf.square(inputs) * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
            return gradient * (share() + inputs * density)

    return outputs, backward


_CALLS: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "attention": _attention,
    "gelu": _dense_gelu,
    "normalization": _normalization,
    "dropout": _dropout,
}
