"""Directories as presets: what can be told before they are loaded."""

from __future__ import annotations

import json
from pathlib import Path

from tfft.backbones.packaged import DEFAULT_TEXT_PRESET
from tfft.core.errors import PresetError


def check_preset_directory(directory: Path) -> None:
    """Checks that a directory is a preset that can be loaded without running code.

    Args:
        directory: The directory.

    Raises:
        PresetError: When it is none.
    """
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


def check_not_quantized(preset: str, run: Path) -> None:
    """Checks that the backbone of a run has weights that can be trained on.

    KerasHub's files do not say that they are quantized, and its error would be one of shapes.

    Args:
        preset: What the user named.
        run: The run directory.

    Raises:
        PresetError: When its backbone is quantized.
    """
    try:
        config = json.loads((run / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return  # what is wrong is said by whoever reads the run
    mode = config.get("quantize_base")
    if mode is not None:
        raise PresetError(
            f"The preset {preset!r} is the backbone of a run with quantize_base={mode!r}: its weights are rounded, and "
            f"nothing but that run's adapter was trained. Name the preset that the run began with, "
            f"{config.get('preset') or DEFAULT_TEXT_PRESET!r}, with quantize_base={mode!r} if it should be quantized "
            "again."
        )
