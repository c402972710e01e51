"""Assembling backbone and head into functional Keras models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tfft.backbones.base import TextBackbone
from tfft.backbones.encoder_decoder import EncoderDecoderBackbone
from tfft.backbones.first_token import first_token_features
from tfft.config import FitConfig
from tfft.config.nested import parse_nested
from tfft.config.sequence_options import DecodingOptions
from tfft.core.errors import ConfigError
from tfft.encoding.base import RowEncoding
from tfft.encoding.source_target import SourceTargetEncoding
from tfft.generating import Generator
from tfft.heads.base import Head, HeadPart, HeadSpec, heads, prefixes_of
from tfft.layers.masked_lm_head import tied_embedding
from tfft.peft.base import Adapter, Base, freeze_base, is_quantized, methods, quantize_base
from tfft.peft.options import parse_peft


@dataclasses.dataclass(frozen=True)
class BuiltModel:
    """Three views of one set of layers.

    Attributes:
        model: From token features to outputs: an ordinary Keras model.
        features: From token features to pooled features, the part before the head's first trainable layer.
        head: From pooled features to outputs, as figures and predictions take them.
        judged: From token features to outputs as figures and predictions take them: `model`, unless the head reduces
            what it is trained on.
        adapter: What a parameter-efficient method added to the backbone, if anything.
        writer: What writes sequences; None where the head says something of what it reads.
    """

    model: keras.Model
    features: keras.Model
    head: keras.Model
    judged: keras.Model
    adapter: Adapter | None = None
    writer: Writer | None = None

    @property
    def trained(self) -> keras.Model:
        """The model whose outputs the loss takes: `model`, unless it has too many of them."""
        return self.model if self.writer is None else self.writer.trained

    def generator(self, encoding: RowEncoding, config: FitConfig) -> Generator | None:
        """Returns what writes texts with this model.

        Args:
            encoding: Knows the tokenizer of what is written.
            config: The run's options.

        Returns:
            The generator; None where the model writes no texts.
        """
        if self.writer is None or not isinstance(encoding, SourceTargetEncoding):
            return None
        return Generator(
            self.writer.begin,
            self.writer.names,
            encoding.tokenizer,
            parse_nested(DecodingOptions, config.decoding, "decoding"),
            special_tokens=encoding.special_tokens,
        )


@dataclasses.dataclass(frozen=True)
class Writer:
    """The parts of a model that writes sequences; they share the layers of the whole.

    Attributes:
        trained: From token features and targets to the loss of each row.
        begin: From token features of sources, and the most tokens of a text, to what a search needs: the step, the
            state before it, and constants.
        names: Token features that `begin` takes.
    """

    trained: keras.Model
    begin: Callable[[Mapping[str, Any], int], tuple[Any, Any, Any]]
    names: tuple[str, ...]


def build_model(backbone: TextBackbone, parts: Sequence[HeadPart], config: FitConfig) -> BuiltModel:
    """Builds the model of a run and freezes what the config says.

    Args:
        backbone: The pretrained backbone; its layers are used, not copied.
        parts: The heads; several have names.
        config: The run's options.

    Returns:
        The model.

    Raises:
        ConfigError: When an option does not fit the backbone.
    """
    _check_pooling(backbone, config)
    return assemble(backbone, parts, adapt(backbone, config))


def assemble(backbone: TextBackbone, parts: Sequence[HeadPart], adapter: Adapter | None = None) -> BuiltModel:
    """Puts heads on a backbone as it is: with whatever adapters it has.

    Args:
        backbone: The pretrained backbone; its layers are used, not copied.
        parts: The heads; several have names, and the model's outputs are a dict then.
        adapter: The adapter of the run.

    Returns:
        The model.
    """
    whole = adapter is not None and adapter.whole_model
    if any(part.name for part in parts):
        return _assemble_several(backbone, parts, adapter)
    (part,) = parts
    spec = HeadSpec(part.config, part.num_outputs, _embedding(backbone))
    if isinstance(backbone, EncoderDecoderBackbone):
        spec = dataclasses.replace(spec, next_token_logits=backbone.logits)
    head: Any = heads.get(part.head)
    inputs, pooled = _pooled(backbone, head, spec, whole=whole)
    prefixes = prefixes_of(head)
    if len(prefixes) > 1:
        inputs, pooled = _side_by_side(keras.Model(inputs, pooled, name="tower"), prefixes)
    features = keras.Model(inputs, pooled, name="features")
    if isinstance(pooled, dict):
        return _assemble_writer(head, spec, features, backbone, adapter)
    head_input = keras.Input(shape=pooled.shape[1:], dtype=pooled.dtype, name="pooled_features")
    head_model = keras.Model(head_input, head.build(head_input, spec), name="head")
    model = keras.Model(inputs, head_model(pooled), name="tfft_model")
    if not hasattr(head, "judge"):
        return BuiltModel(model, features, head_model, model, adapter)
    more = head.judged_inputs(spec)
    judged = keras.Model({**inputs, **more}, head.judge(model.output, more, spec), name="judged_model")
    judged_head = keras.Model(head_input, head.judge(head_model(head_input), {}, spec), name="judged_head")
    return BuiltModel(model, features, judged_head, judged, adapter)


def _assemble_writer(
    head: Any, spec: HeadSpec, features: keras.Model, backbone: TextBackbone, adapter: Adapter | None
) -> BuiltModel:
    """Puts a head that writes sequences on pooled features."""
    inputs, pooled = features.input, features.output
    head_inputs = {name: keras.Input(item.shape[1:], dtype=item.dtype, name=name) for name, item in pooled.items()}
    head_model = keras.Model(head_inputs, head.build(head_inputs, spec), name="head")
    model = keras.Model(inputs, head_model(pooled), name="tfft_model")
    more = head.scored_inputs(spec)
    trained = keras.Model({**inputs, **more}, head.train(head_model, pooled, more), name="trained_model")
    judged = keras.Model({**inputs, **more}, head.score(head_model, pooled, more), name="judged_model")
    if isinstance(backbone, EncoderDecoderBackbone):
        begin, names = backbone.begin, ("token_ids", "padding_mask")
    else:
        begin, names = _beginning(head.decoder(head_model), inputs, pooled["features"], backbone)
    return BuiltModel(model, features, head_model, judged, adapter, Writer(trained, begin, names))


def _beginning(decoder: Any, inputs: Mapping[str, Any], features: Any, backbone: TextBackbone) -> tuple[Any, Any]:
    """Returns how a search begins with a decoder on an encoder, and the inputs of the encoder."""
    sources = {name: item for name, item in inputs.items() if name in backbone.inputs()}
    encoder = keras.Model(sources, features, name="encoder")

    def begin(given: Mapping[str, Any], most: int) -> tuple[Any, Any, Any]:
        del most
        found: tuple[Any, Any, Any] = decoder.begin(encoder(dict(given), training=False), given["padding_mask"])
        return found

    return begin, tuple(sources)


def _assemble_several(backbone: TextBackbone, parts: Sequence[HeadPart], adapter: Adapter | None) -> BuiltModel:
    embedding = _embedding(backbone)
    chosen = {part.name: (heads.get(part.head), HeadSpec(part.config, part.num_outputs, embedding)) for part in parts}
    inputs = backbone.inputs()
    for head, spec in chosen.values():
        inputs |= {name: item for name, item in head.inputs(spec).items() if name not in inputs}
    found = backbone.features(inputs, frozen=parts[0].config.head_only)
    pooled: dict[str, Any] = {}
    # Heads that pool alike share the layer: it has no weights.
    alike: dict[tuple[Any, str], Any] = {}
    for name, (head, spec) in chosen.items():
        way = (type(head).pool, spec.config.pooling)
        if way not in alike:
            alike[way] = head.pool(found, inputs, spec)
        pooled[name] = alike[way]
    features = keras.Model(inputs, pooled, name="features")
    head_inputs = {name: keras.Input(item.shape[1:], dtype=item.dtype, name=name) for name, item in pooled.items()}
    outputs = {}
    for name, (head, spec) in chosen.items():
        own = keras.Input(pooled[name].shape[1:], dtype=pooled[name].dtype, name="pooled_features")
        with keras.name_scope(name):  # so that no two variables have one path
            outputs[name] = keras.Model(own, head.build(own, spec), name=f"{name}_head")(head_inputs[name])
    head_model = keras.Model(head_inputs, outputs, name="head")
    model = keras.Model(inputs, head_model(pooled), name="tfft_model")
    judges: dict[str, tuple[Any, HeadSpec]] = {name: own for name, own in chosen.items() if hasattr(own[0], "judge")}
    if not judges:
        return BuiltModel(model, features, head_model, model, adapter)

    def reduced(outputs: Any, known: dict[str, Any]) -> dict[str, Any]:
        return {**outputs, **{name: head.judge(outputs[name], known, spec) for name, (head, spec) in judges.items()}}

    more: dict[str, Any] = {}
    for judge, spec in judges.values():
        more |= judge.judged_inputs(spec)
    judged = keras.Model({**inputs, **more}, reduced(model.output, more), name="judged_model")
    judged_head = keras.Model(head_inputs, reduced(head_model(head_inputs), {}), name="judged_head")
    return BuiltModel(model, features, judged_head, judged, adapter)


def _embedding(backbone: TextBackbone) -> Callable[[], Any]:
    return functools.partial(tied_embedding, backbone.model, preset=backbone.preset, causal=backbone.causal)


def _pooled(backbone: TextBackbone, head: Head, spec: HeadSpec, *, whole: bool) -> tuple[dict[str, Any], Any]:
    """Returns new inputs of one text and its pooled features."""
    inputs = {**backbone.inputs(), **head.inputs(spec)}
    # A frozen backbone has no dropout, so that training on features computed once is training on it.
    frozen = spec.config.head_only
    if head.first_token_only(spec) and not whole:
        return inputs, head.pool(first_token_features(backbone, inputs, frozen=frozen), inputs, spec)
    return inputs, head.pool(backbone.features(inputs, frozen=frozen), inputs, spec)


def _side_by_side(tower: keras.Model, prefixes: Sequence[str]) -> tuple[dict[str, Any], Any]:
    """Applies one model to several texts: Siamese towers (Bromley et al. 1993), which share all variables."""
    inputs: dict[str, Any] = {}
    sides = []
    for prefix in prefixes:
        own = {
            name: keras.Input(item.shape[1:], dtype=item.dtype, name=f"{prefix}{name}")
            for name, item in tower.input.items()
        }
        sides.append(tower(own))
        inputs |= {f"{prefix}{name}": item for name, item in own.items()}
    return inputs, keras.ops.stack(sides, axis=1)


def _check_pooling(backbone: TextBackbone, config: FitConfig) -> None:
    if backbone.causal and config.pooling == "first":
        raise ConfigError(
            f"{backbone.preset!r} is causal: its first token sees no other, so pooling='first' is useless; use 'mean'."
        )


def with_room(backbone: TextBackbone, config: FitConfig) -> TextBackbone:
    """Returns a backbone whose rows are short enough for what a method puts before them, such as a trained prompt.

    Args:
        backbone: The backbone.
        config: The run's options.

    Returns:
        The backbone, with a lower limit where one is needed.

    Raises:
        ConfigError: When no room is left for the text.
    """
    taken = 0 if config.peft is None else parse_peft(config.peft).tokens_taken
    if not taken or backbone.max_sequence_length is None:
        return backbone
    left = backbone.max_sequence_length - taken
    if left < 1 or (config.sequence_length or 0) > left:
        raise ConfigError(
            f"{backbone.preset!r} takes rows of {backbone.max_sequence_length} tokens, of which peft="
            f"{config.peft_method!r} needs {taken}; set sequence_length to at most {max(left, 0)}."
        )
    return dataclasses.replace(backbone, max_sequence_length=left)


def adapt(backbone: TextBackbone, config: FitConfig) -> Adapter | None:
    """Freezes what the config says, and adds its parameter-efficient method.

    Args:
        backbone: The backbone; its layers are changed in place.
        config: The run's options.

    Returns:
        What was added; None when all or nothing of the backbone is trained.
    """
    if config.quantize_base is not None and not is_quantized(backbone.model):
        quantize_base(backbone.model, config.quantize_base)
    backbone.model.trainable = not config.head_only
    if config.head_only or config.peft_method is None:
        return None
    chosen = {"method": "partial", "train_layers": config.train_layers}
    options = config.peft if config.train_layers is None else chosen
    method_config = parse_peft(options or {})
    freeze_base(backbone.model)
    base = Base(backbone.trunk, backbone.blocks, backbone.hidden_dim)
    return methods.get(method_config.method).add(base, method_config, name="default", seed=config.seed)


def check_trainable(built: BuiltModel, config: FitConfig) -> int:
    """Checks that exactly the stated variables are trainable, before the model is compiled.

    Args:
        built: The model.
        config: The run's options.

    Returns:
        The number of trainable parameters.

    Raises:
        ConfigError: When the trainable set is not the one that `freeze` states.
    """
    trainable = {variable.path for variable in built.model.trainable_variables}
    head = {variable.path for variable in built.head.trainable_variables}
    whole = {variable.path for variable in built.model.variables} - _seeds(built.model)
    expected = head if config.head_only else whole
    if built.adapter is not None:
        expected = head | {variable.path for variable in built.adapter.trainable_variables}
    if trainable != expected:
        odd = sorted(trainable ^ expected)
        raise ConfigError(
            f"{what_is_trained(config)} should train {len(expected)} variables, but {len(trainable)} are trainable. "
            f"Differing: {', '.join(odd[:5])}. A layer of the preset has its own trainable flag set."
        )
    return sum(int(variable.value.shape.num_elements()) for variable in built.model.trainable_variables)


def what_is_trained(config: FitConfig) -> str:
    """Returns the option that says what is trained, as it is written in Python."""
    if config.train_layers is not None:
        return f"train_layers={config.train_layers!r}"
    return f"peft={config.peft_method!r}" if config.peft is not None else f"freeze={config.freeze!r}"


def _seeds(model: keras.Model) -> set[str]:
    return {variable.path for variable in model.non_trainable_variables if "seed_generator" in variable.path}
