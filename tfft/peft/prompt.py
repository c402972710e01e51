"""Prompt tuning: trained token vectors before those of the text."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops
from pydantic import Field

from tfft.core.errors import ConfigError, name_list
from tfft.peft._around import release, surround
from tfft.peft._surgery import SideLayer, all_layers, attach, detach, hook, layer_paths, unhook
from tfft.peft.base import Adapter, Base, PeftConfig, PeftMethod, register_peft

#: Inputs of a text model that have a number for each token, and that of a virtual one. As an id any will do, since the
#: vector is replaced; not 0, which some embeddings take for padding.
_IDS = "token_ids"
_ADDED = {_IDS: 1, "padding_mask": 1, "segment_ids": 0}
#: In a model of encoder and decoder the prompt is before the encoder's text, as in the paper.
_ENCODER, _DECODER = "encoder_", "decoder_"
_EMBEDDING, _POSITIONS = "token_embedding", "PositionEmbedding"
#: From here on, tensors have an axis of tokens: `(batch, sequence_length, hidden_dim)`.
_TOKEN_RANK = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptConfig(PeftConfig):
    """Options of prompt tuning (Lester et al. 2021, section 2): the model reads `[P; X]` in place of the vectors `X`.

    The text comes after the prompt, so its positions begin at `num_virtual_tokens`, and it may be that much shorter.
    What the model computes for the text is returned, without what it computes for the prompt; an output without an axis
    of tokens, such as BERT's `pooled_output`, is the one for the first virtual token, as in Hugging Face PEFT.

    Attributes:
        num_virtual_tokens: Length of the prompt.
        initialization: "vocabulary" for vectors of tokens chosen at random, "random" for numbers from [-0.5, 0.5]
            (section 3.2; the first was better in small models).
    """

    method: ClassVar[str] = "prompt"
    paper: ClassVar[str] = (
        "Lester et al. 2021, The Power of Scale for Parameter-Efficient Prompt Tuning, arXiv:2104.08691"
    )

    num_virtual_tokens: Annotated[int, Field(ge=1)] = 20
    initialization: Literal["vocabulary", "random"] = "vocabulary"

    @property
    def tokens_taken(self) -> int:
        """The prompt's own tokens."""
        return self.num_virtual_tokens


class PromptSide(SideLayer):
    """The prompt, at the embedding of tokens."""

    def __init__(self, values: np.ndarray, name: str) -> None:
        """Keeps the initial values, of shape `(tokens, hidden_dim)`."""
        super().__init__(name=name, dtype="float32", autocast=False)
        self._initial = values

    def build(self, _: Any) -> None:
        """Makes the variable."""
        initial = self._initial
        self.prompt = self.add_weight(
            shape=initial.shape,
            initializer=lambda shape, dtype: ops.reshape(ops.convert_to_tensor(initial, dtype), shape),
            name="prompt",
        )

    def call(self, vectors: Any) -> Any:
        """Puts the prompt in the place of the first vectors, `(batch, sequence_length, hidden_dim)`."""
        tokens, size = self.prompt.shape
        rows = ops.broadcast_to(ops.cast(self.prompt, vectors.dtype)[None], (ops.shape(vectors)[0], tokens, size))
        return ops.concatenate([rows, vectors[:, tokens:]], axis=1)


@dataclasses.dataclass(frozen=True)
class _Input:
    """An input of the base: its name there, its kind (a key of `_ADDED`; None: it stays as it is), its dtype."""

    name: str
    kind: str | None
    dtype: str


class PromptAdapter(Adapter):
    """A prompt before what a base reads."""

    config: PromptConfig
    starts_as_identity = False
    mergeable = False
    shares_base = False
    whole_model = True

    def __init__(self, base: Base, config: PromptConfig, name: str, seed: int) -> None:
        """Adds a prompt.

        Args:
            base: The base.
            config: The options.
            name: Name of the adapter.
            seed: Decides the initialisation.

        Raises:
            ConfigError: When the base reads no text, or too little of it.
        """
        super().__init__(base, config)
        self.name = name
        self._inputs = _inputs(base.model)
        self._embedding = _token_embedding(base.model)
        self._of_text = [_is_of_text(output) for output in _flat(base.model.output)]
        self._longest = _longest_row(base.model)
        if self._longest is not None and config.num_virtual_tokens >= self._longest:
            raise ConfigError(
                f"prompt: num_virtual_tokens={config.num_virtual_tokens} leaves no room for text: "
                f"{base.model.name!r} reads {self._longest} tokens at most. Set it lower."
            )
        self._path = layer_paths(base.model)[id(self._embedding)]
        self.side = PromptSide(_initial_values(self._embedding, config, seed), f"{name}_prompt")
        attach(self._embedding, self.side, None, path=self._path)
        #: The token ids with the prompt's before them, while the base is called: other ids are embedded as they are.
        self._reading = threading.local()
        self._change, self._around = self._replace, self._call  # the same objects each time
        hook(self._embedding, self._change)
        surround(base.model, self._around)

    def _call(self, compute: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.enabled:
            return compute(inputs, *args, **kwargs)
        extended, token_ids = self._extended(inputs)
        self._reading.token_ids, self._reading.times = token_ids, 0
        try:
            outputs = compute(extended, *args, **kwargs)
        finally:
            self._reading.token_ids = None
        if self._reading.times != 1:
            raise ConfigError(
                f"prompt tuning does not fit {self.base.model.name!r}: its layer {self._path!r} was to embed the token "
                f"ids once, and did so {self._reading.times} times. Use another method, such as prefix."
            )
        return self._cut(outputs)

    def _extended(self, inputs: Any) -> tuple[Any, Any]:
        """Returns the inputs with those of the prompt before them; and the token ids among them."""
        named = isinstance(inputs, Mapping)
        given = dict(inputs) if named else dict(zip((item.name for item in self._inputs), _flat(inputs), strict=True))
        token_ids = None
        for item in self._inputs:
            if item.kind is None:
                continue
            own = ops.convert_to_tensor(given[item.name], dtype=item.dtype)  # as Keras would: it is that object then
            self._check_length(own.shape[1])
            shape = (ops.shape(own)[0], self.config.num_virtual_tokens)
            given[item.name] = ops.concatenate([ops.full(shape, _ADDED[item.kind], dtype=own.dtype), own], axis=1)
            if item.kind == _IDS:
                token_ids = given[item.name]
        return given if named else keras.tree.pack_sequence_as(inputs, list(given.values())), token_ids

    def _check_length(self, length: int | None) -> None:
        tokens = self.config.num_virtual_tokens
        if self._longest is not None and length is not None and length + tokens > self._longest:
            raise ConfigError(
                f"A row of {length} tokens is too long: {self.base.model.name!r} reads {self._longest} at most, and "
                f"the prompt takes {tokens} of them. Set sequence_length to {self._longest - tokens} or less, or "
                "num_virtual_tokens lower."
            )

    def _replace(self, vectors: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        if inputs is not getattr(self._reading, "token_ids", None):
            return vectors
        self._reading.times += 1
        return self.side(vectors)

    def _cut(self, outputs: Any) -> Any:
        """Takes the prompt's part off the outputs."""
        tokens = self.config.num_virtual_tokens
        pairs = zip(_flat(outputs), self._of_text, strict=True)
        return keras.tree.pack_sequence_as(outputs, [item[:, tokens:] if longer else item for item, longer in pairs])

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """The prompt."""
        return {f"{self._path}/prompt": self.side.prompt}

    @property
    def targets(self) -> list[str]:
        """Path of the embedding of tokens."""
        return [self._path]

    def remove(self) -> None:
        """Takes the prompt off the base."""
        release(self.base.model, self._around)
        unhook(self._embedding, self._change)
        detach(self._embedding, self.side)


@register_peft("prompt")
@object.__new__
class Prompt(PeftMethod[PromptConfig]):
    """Token vectors before those of the text."""

    config_class = PromptConfig
    needs = "token ids that are embedded"

    def add(self, base: Base, config: PromptConfig, *, name: str, seed: int) -> PromptAdapter:
        """Adds a prompt to what the base reads."""
        return PromptAdapter(base, config, name, seed)


def _inputs(model: keras.Model) -> list[_Input]:
    """Returns the inputs of a model, in the order in which Keras flattens them.

    Args:
        model: A functional model.

    Returns:
        Its inputs; one of them has the kind "token_ids".

    Raises:
        ConfigError: When it has none, or an input that is not known to go with text.
    """
    named = model.input if isinstance(model.input, Mapping) else {item.name: item for item in _flat(model.input)}
    found = []
    for name, tensor in sorted(named.items()) if isinstance(model.input, Mapping) else named.items():
        kind = name.removeprefix(_ENCODER)
        if len(named) == 1 and keras.backend.is_int_dtype(tensor.dtype):
            kind = _IDS
        if kind not in _ADDED and not name.startswith(_DECODER):
            raise _no_text(model, named)
        found.append(_Input(name, kind if kind in _ADDED else None, tensor.dtype))
    if _IDS not in (item.kind for item in found):
        raise _no_text(model, named)
    return found


def _no_text(model: keras.Model, named: Mapping[str, Any]) -> ConfigError:
    return ConfigError(
        f"prompt tuning puts trained vectors before those of a text's tokens, and {model.name!r} takes "
        f"{name_list(sorted(named))} in place of token_ids, padding_mask and segment_ids. Use another method: lora and "
        "bitfit act on any layers with a kernel or a bias."
    )


def _is_of_text(output: Any) -> bool:
    """Tells whether an output has an axis of the prompt's and the text's tokens; those of a decoder have its own."""
    if len(output.shape) < _TOKEN_RANK:
        return False
    waiting, seen = [output], {id(output)}
    for tensor in waiting:  # grows
        operation, node_index, _ = tensor._keras_history
        sources = operation._inbound_nodes[node_index].input_tensors
        if not sources and operation.name.startswith(_DECODER):
            return False
        waiting += [source for source in sources if id(source) not in seen]
        seen |= {id(source) for source in sources}
    return True


def _token_embedding(model: keras.Model) -> Any:
    layers = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.Embedding)]
    fitting = [layer for layer in layers if layer.name == _EMBEDDING] or layers
    if len(fitting) != 1:
        raise ConfigError(
            f"prompt tuning needs to know which layer of {model.name!r} embeds the tokens: an Embedding named "
            f"{_EMBEDDING!r}, or the only one. It has "
            f"{name_list([repr(layer.name) for layer in layers]) or 'no Embedding'}."
        )
    return fitting[0]


def _longest_row(model: keras.Model) -> int | None:
    """Returns how many tokens a row may have, where positions are counted."""
    found = [layer.sequence_length for layer in all_layers(model) if type(layer).__name__ == _POSITIONS]
    return min(found, default=None)


def _initial_values(embedding: Any, config: PromptConfig, seed: int) -> np.ndarray:
    """Returns the vectors to begin with, float32 of shape `(num_virtual_tokens, hidden_dim)`."""
    tokens, random = config.num_virtual_tokens, np.random.default_rng(seed)
    if config.initialization == "random":
        return random.uniform(-0.5, 0.5, (tokens, embedding.output_dim)).astype(np.float32)
    rows = random.choice(embedding.input_dim, tokens, replace=tokens > embedding.input_dim)
    if getattr(embedding, "quantization_mode", None) is None:
        vectors = ops.convert_to_numpy(embedding.embeddings)[rows]
    else:  # as it reads its own packed table
        vectors = ops.convert_to_numpy(embedding(rows[None]))[0]
    return np.array(vectors, np.float32)


def _flat(structure: Any) -> list[Any]:
    flat: list[Any] = keras.tree.flatten(structure)
    return flat
