"""Recordings of noise, read from a folder of WAV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import wavfile

from tfft.core.errors import ConfigError


def read_recordings(name: str, folder: str, sampling_rate: int) -> np.ndarray:
    """Reads all WAV files of a folder, in the order of their names.

    Args:
        name: Name of the augmentation, for messages.
        folder: The folder; files in folders below it count too.
        sampling_rate: Samples a second that each file must have.

    Returns:
        The recordings one after the other, channels averaged, float32 `(samples,)` from -1 to 1.

    Raises:
        ConfigError: When there are none, or one cannot be used.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.casefold() == ".wav")
    if not paths:
        raise ConfigError(f"{name}: the folder {folder} holds no WAV files.")
    recordings = np.concatenate([_read(name, path, sampling_rate) for path in paths])
    if not np.any(recordings):
        raise ConfigError(f"{name}: the recordings in {folder} are silent.")
    return recordings


def _read(name: str, path: Path, sampling_rate: int) -> np.ndarray:
    try:
        rate, samples = wavfile.read(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {path} cannot be read as WAV: {error}") from None
    if rate != sampling_rate:
        raise ConfigError(
            f"{name}: {path} has {rate} samples a second, sampling_rate says {sampling_rate}; resample the file."
        )
    if samples.dtype.kind == "u":  # 8 bits, silent at 128
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-np.float64(np.iinfo(samples.dtype).min))
    mono: np.ndarray = samples.astype(np.float32).reshape(len(samples), -1).mean(axis=1)
    if not np.isfinite(mono).all():
        raise ConfigError(f"{name}: {path} holds samples that are no numbers.")
    return mono
