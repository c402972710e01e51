"""The head of masked language models: logits over the vocabulary at a few positions, with the embeddings as weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tfft.core.errors import PresetError

_ADVICE = "Choose an encoder such as BERT, DistilBERT, RoBERTa, XLM-RoBERTa, DeBERTa, ALBERT, ELECTRA or FNet."


class MaskedLanguageModelHead(keras.layers.Layer):
    """Predicts hidden tokens from token features (Devlin et al. 2019; tied weights: Press and Wolf 2017).

    The features at the positions are picked first, so that there are never logits of all tokens. Then come, as in BERT,
    a dense layer of the embeddings' size, GELU, layer normalisation, the transposed token embeddings and a bias. All
    but the embeddings are the head's own weights; they are those of KerasHub's `MaskedLMHead`, in its order.

    It shares the embedding matrix with a backbone, which owns it: `variables` are the head's own alone. So it is not
    saved as an object, only its weights are.

    Example:
        >>> embedding = tied_embedding(backbone.model, preset=backbone.preset, causal=backbone.causal)
        >>> logits = MaskedLanguageModelHead(embedding)(features, positions)
    """

    def __init__(
        self,
        token_embedding: Any,
        *,
        approximate_gelu: bool = False,
        layer_norm_epsilon: float = 1e-5,
        name: str = "masked_lm_head",
        **kwargs: Any,
    ) -> None:
        """Creates the head.

        Args:
            token_embedding: The backbone's `ReversibleEmbedding`, as `tied_embedding` gives it; it is used, not copied.
            approximate_gelu: Whether GELU is computed by its tanh approximation, as in ALBERT.
            layer_norm_epsilon: Added to the variance in layer normalisation.
            name: Name of the layer.
            **kwargs: `dtype` and `trainable` of `keras.layers.Layer`.
        """
        super().__init__(name=name, **kwargs)
        # Not as an attribute, which Keras would count as a layer of this one: the backbone saves and freezes it.
        self._shared = lambda: token_embedding
        self.approximate_gelu = approximate_gelu
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)  # BERT's own choice
        size, policy = token_embedding.output_dim, self.dtype_policy
        self.dense = keras.layers.Dense(size, kernel_initializer=initializer, dtype=policy, name="intermediate_dense")
        self.norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=policy, name="intermediate_layer_norm"
        )

    @property
    def token_embedding(self) -> Any:
        """The backbone's `ReversibleEmbedding`."""
        return self._shared()

    @property
    def own_variables(self) -> list[Any]:
        """The kernel and bias of the dense layer, gamma and beta of the normalisation, and the bias of the logits."""
        return [*self.dense.variables, *self.norm.variables, self.output_bias]

    def build(
        self, features_shape: tuple[int | None, ...], positions_shape: tuple[int | None, ...] | None = None
    ) -> None:
        """Creates the head's own weights."""
        del positions_shape
        size = self.token_embedding.output_dim
        self.dense.build((None, None, features_shape[-1]))
        self.norm.build((None, None, size))
        self.output_bias = self.add_weight(
            shape=(self.token_embedding.input_dim,), initializer="zeros", dtype="float32", name="output_bias"
        )

    def call(self, features: Any, positions: Any = None) -> Any:
        """Computes logits.

        Args:
            features: Float of shape `(batch, sequence_length, hidden_dim)`.
            positions: Which tokens are predicted, int32 of shape `(batch, max_masked)`; -1 for none, where the logits
                are those of the first token. None: all of them, for instance because they are picked already.

        Returns:
            Float32 of shape `(batch, max_masked, vocabulary_size)`, whatever the compute dtype.
        """
        if positions is not None:
            places = ops.expand_dims(ops.maximum(ops.cast(positions, "int32"), 0), axis=-1)
            features = ops.take_along_axis(features, places, axis=1)
        hidden = self.norm(keras.activations.gelu(self.dense(features), approximate=self.approximate_gelu))
        logits = self.token_embedding(hidden, reverse=True)
        return ops.cast(logits, "float32") + ops.cast(self.output_bias, "float32")

    def compute_output_spec(self, features: Any, positions: Any = None) -> Any:
        """Returns the shape and dtype of the logits."""
        places = features.shape[:-1] if positions is None else positions.shape
        return keras.KerasTensor((*places, self.token_embedding.input_dim), dtype="float32")


def tied_embedding(model: keras.Model, *, preset: str, causal: bool) -> Any:
    """Returns the layer of a backbone whose matrix the head shares.

    KerasHub's BERT, RoBERTa, XLM-RoBERTa, DistilBERT, DeBERTa-v3, ALBERT, ELECTRA, FNet and RoFormer-v2 have it as
    `token_embedding`; in the RoBERTas and DistilBERT it is part of a `TokenAndPositionEmbedding`. In ALBERT and ELECTRA
    it is narrower than the hidden states, as the head's dense layer is then.

    Args:
        model: The KerasHub backbone.
        preset: Its name, for messages.
        causal: Whether a token sees only those before it.

    Returns:
        A `keras.layers.ReversibleEmbedding` with tied weights.

    Raises:
        PresetError: When the backbone is causal, or its embeddings cannot be used as output weights.
    """
    kind = type(model).__name__
    if causal:
        raise PresetError(
            f"{preset!r} is a {kind}, a causal model: its tokens see only those before them, so that it cannot be "
            f"trained to fill in masks. {_ADVICE}"
        )
    embedding = getattr(model, "token_embedding", None)
    if not isinstance(embedding, keras.layers.ReversibleEmbedding) or not embedding.tie_weights:
        what = type(embedding).__name__ + (" with untied weights" if hasattr(embedding, "tie_weights") else "")
        found = "has no token_embedding" if embedding is None else f"embeds its tokens by {what}"
        raise PresetError(
            f"{preset!r} is a {kind}, which {found}: a masked language model needs a ReversibleEmbedding, whose matrix "
            f"gives the logits as well. {_ADVICE}"
        )
    return embedding
