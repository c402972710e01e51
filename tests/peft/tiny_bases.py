"""Tiny bases with random weights, one for each architecture, and a batch for each."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.peft.base import Base, freeze_base, quantize_base

VOCABULARY, HIDDEN, LENGTH, ROWS, SIDE = 30, 16, 7, 4, 32
MODELS = keras_hub.models
ENCODER: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "hidden_dim": HIDDEN, "intermediate_dim": 32}
BERT: dict[str, Any] = {**ENCODER, "vocabulary_size": VOCABULARY, "max_sequence_length": 40}
DECODER: dict[str, Any] = {
    "vocabulary_size": VOCABULARY,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": HIDDEN,
    "intermediate_dim": 32,
}
#: Backbones of KerasHub that take token ids: class and options.
TEXT: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (MODELS.BertBackbone, BERT),
    "roberta": (MODELS.RobertaBackbone, BERT),
    "xlm_roberta": (MODELS.XLMRobertaBackbone, BERT),
    "albert": (MODELS.AlbertBackbone, {**BERT, "embedding_dim": 8, "num_groups": 1, "num_inner_repetitions": 1}),
    "distil_bert": (MODELS.DistilBertBackbone, BERT),
    "electra": (
        MODELS.ElectraBackbone,
        {**ENCODER, "vocab_size": VOCABULARY, "embedding_dim": 8, "max_sequence_length": 40},
    ),
    "deberta_v3": (MODELS.DebertaV3Backbone, {**BERT, "bucket_size": 8}),
    "f_net": (MODELS.FNetBackbone, {name: value for name, value in BERT.items() if name != "num_heads"}),
    "gpt2": (MODELS.GPT2Backbone, BERT),
    "gpt_neo_x": (MODELS.GPTNeoXBackbone, BERT),
    "opt": (MODELS.OPTBackbone, BERT),
    "bloom": (MODELS.BloomBackbone, {**ENCODER, "vocabulary_size": VOCABULARY}),
    "falcon": (
        MODELS.FalconBackbone,
        {
            "vocabulary_size": VOCABULARY,
            "num_layers": 2,
            "num_attention_heads": 2,
            "hidden_dim": HIDDEN,
            "intermediate_dim": 32,
        },
    ),
    "llama": (MODELS.LlamaBackbone, DECODER),
    "llama3": (MODELS.Llama3Backbone, DECODER),
    "mistral": (MODELS.MistralBackbone, {**DECODER, "sliding_window": 8}),
    "mixtral": (MODELS.MixtralBackbone, {**DECODER, "num_experts": 2, "top_k": 2}),
    "phi3": (MODELS.Phi3Backbone, {**DECODER, "max_sequence_length": 40, "pretraining_sequence_length": 40}),
    "qwen2": (MODELS.Qwen2Backbone, DECODER),
    "qwen3": (MODELS.Qwen3Backbone, {**DECODER, "head_dim": 4}),
    "gemma": (MODELS.GemmaBackbone, {**DECODER, "head_dim": 4}),
    "gemma3": (MODELS.Gemma3Backbone, {**DECODER, "head_dim": 4, "image_size": 16, "vision_encoder": None}),
    "t5": (MODELS.T5Backbone, {**ENCODER, "vocabulary_size": VOCABULARY}),
    "bart": (MODELS.BartBackbone, BERT),
}
IMAGE = (SIDE, SIDE, 3)


def _applied(kind: Any, **options: Any) -> Any:
    return kind(weights=None, include_top=False, input_shape=IMAGE, **options)


def _le_net() -> keras.Model:
    layers = keras.layers
    image = keras.Input(IMAGE)
    features = layers.MaxPooling2D(2)(layers.Conv2D(6, 5, activation="relu")(image))
    features = layers.Conv2D(8, 5, activation="tanh", strides=2)(features)
    return keras.Model(image, layers.Dense(12, activation="gelu")(layers.Flatten()(features)))


def _lstm() -> keras.Model:
    layers = keras.layers
    tokens = keras.Input((None,), dtype="int32", name="token_ids")
    embedded = layers.Embedding(VOCABULARY, 8)(tokens)
    encoded = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(embedded)
    return keras.Model({"token_ids": tokens}, layers.Dense(HIDDEN, activation="gelu")(layers.LSTM(6)(encoded)))


#: Everything else: what builds the model.
OTHER: dict[str, Callable[[], keras.Model]] = {
    "vit": lambda: MODELS.ViTBackbone(
        image_shape=IMAGE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=HIDDEN, mlp_dim=32
    ),
    "le_net": _le_net,
    "mobilenet_v2": lambda: _applied(keras.applications.MobileNetV2, alpha=0.35),
    "efficientnet": lambda: _applied(keras.applications.EfficientNetB0),
    "resnet50": lambda: _applied(keras.applications.ResNet50),
    "whisper": lambda: MODELS.WhisperBackbone(
        **ENCODER,
        vocabulary_size=VOCABULARY,
        num_mels=8,
        max_encoder_sequence_length=20,
        max_decoder_sequence_length=LENGTH,
    ),
    "lstm": _lstm,
}
ARCHITECTURES = (*TEXT, *OTHER)


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A base, the whole backbone that it is part of, and a batch.

    Attributes:
        base: What methods are added to.
        whole: The backbone, as it is saved.
        batch: Inputs of the base.
    """

    base: Base
    whole: keras.Model
    batch: Any

    def __call__(self, *, training: bool = False) -> np.ndarray:
        """Returns the base's outputs for the batch."""
        return np.asarray(keras.ops.convert_to_numpy(self.base.model(self.batch, training=training)))

    def weights(self) -> list[np.ndarray]:
        """Returns copies of the base's own weights."""
        return [np.array(variable.numpy()) for variable in self.base.model.variables if is_weight(variable)]


def is_weight(variable: Any) -> bool:
    """Tells whether a variable is more than the state of dropout."""
    return "seed_generator" not in variable.path


def tiny(name: str, *, dropout: float = 0.0, quantize: str | None = None, frozen: bool = True) -> Tiny:
    """Builds an architecture; the same weights each time.

    Args:
        name: One of `ARCHITECTURES`.
        dropout: Dropout rate, where the architecture has the option.
        quantize: "int8", "int4" or None.
        frozen: Whether `freeze_base` is called.

    Returns:
        The base with its batch.
    """
    if name in TEXT:
        kind, options = TEXT[name]
        takes_dropout = "dropout" in inspect.signature(kind.__init__).parameters
        whole = kind(**options, **({"dropout": dropout} if takes_dropout else {}))
    else:
        whole = OTHER[name]()
    randomize(whole)
    if quantize is not None:
        quantize_base(whole, quantize)
    if frozen:
        freeze_base(whole)
    trunk = _trunk(whole)
    blocks: tuple[Any, ...] = ()
    if name == "vit":
        blocks = tuple(whole.get_layer("vit_encoder").encoder_layers)
    elif name in TEXT or name == "whisper":
        blocks = TextBackbone(name, whole, trunk, None, "none", (), (), 0, 40, HIDDEN, False).blocks
    return Tiny(Base(trunk, blocks, HIDDEN if blocks else None), whole, _batch(trunk))


def randomize(model: keras.Model) -> None:
    """Gives a model weights that are large enough for neighbours to matter, the same each time."""
    random = np.random.default_rng(7)
    for weight in filter(is_weight, model.weights):
        fan = math.prod(weight.shape[:-1])
        values = random.normal(scale=min(0.3, 1.5 * fan**-0.5), size=weight.shape)
        # Scales stay near one, and averages of squares above zero.
        if weight.name in ("gamma", "scale", "moving_variance"):
            values = 1.0 + 0.3 * np.abs(values)
        weight.assign(values)


def _trunk(whole: keras.Model) -> keras.Model:
    outputs = whole.output
    if not isinstance(outputs, dict):
        return whole
    name = next(name for name in ("sequence_output", "decoder_sequence_output") if name in outputs)
    return keras.Model(whole.input, outputs[name], name=whole.name)


def _batch(model: keras.Model) -> Any:
    random = np.random.default_rng(1)
    if not isinstance(model.input, dict):
        return random.normal(size=(ROWS, *IMAGE)).astype(np.float32)
    mask = (np.arange(LENGTH) < np.array([[LENGTH], [4], [2], [6]])).astype(np.int32)
    found: dict[str, np.ndarray] = {}
    for name, tensor in model.input.items():
        if "mask" in name:
            found[name] = mask
        elif "segment" in name:
            found[name] = np.zeros_like(mask)
        elif "token" in name:
            found[name] = random.integers(1, VOCABULARY, mask.shape).astype(np.int32)
        else:  # the spectrogram of Whisper
            found[name] = random.normal(size=(ROWS, *(size or 12 for size in tensor.shape[1:]))).astype(np.float32)
    return found
