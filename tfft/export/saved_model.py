"""TF Serving's SavedModel: strings in, decoded results out."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfft.console import Console
from tfft.core.errors import ConfigError, ExportError
from tfft.core.files import temporary_sibling
from tfft.encoding.base import RowEncoding
from tfft.export._verify import verify
from tfft.export.base import Exportable, register_exporter
from tfft.generating import Generator


class ServingModule(tf.Module):
    """Tokenizer, model and decoding in one graph, with the signature `serving_default`."""

    def __init__(
        self,
        model: keras.Model,
        encoding: RowEncoding,
        decode: Callable[[Any, Any], dict[str, tf.Tensor]],
        generator: Generator | None = None,
    ) -> None:
        """Creates the module.

        Args:
            model: From token features to outputs.
            encoding: From strings to rows of tokens.
            decode: From outputs, and what the encoding says besides the model's inputs, to the signature's tensors.
            generator: Writes texts in place of the model's own outputs; the loop is part of the graph.
        """
        super().__init__(name="serving")
        self.tables = encoding.tables
        # A module that holds only the Keras model loads in Python, but TF Serving's C++ loader finds no variables.
        self.tf_variables = [variable.value for variable in model.variables]
        names = list(model.input)

        def serve(*strings: tf.Tensor) -> dict[str, tf.Tensor]:
            features, context = encoding.serve(dict(zip(encoding.inputs, strings, strict=True)))
            if generator is not None:
                return decode(generator(features), context)
            return decode(model({name: features[name] for name in names}, training=False), context)

        specs = [tf.TensorSpec([None], tf.string, name=name) for name in encoding.inputs]
        self.serve = tf.function(serve, input_signature=specs, autograph=False)


class SavedModelExporter:
    """Writes `<directory>/<version>/`, verified, in one rename."""

    def export(self, exportable: Exportable, directory: Path, console: Console) -> Path:
        """Exports to the next free version.

        The model is written beside its final place, reloaded in a fresh process and compared with `predict`; only then
        does it get its version number, so that a server that watches the directory never sees an unverified model.

        Args:
            exportable: What to export.
            directory: The model's base directory, as TF Serving's `--model_base_path`.
            console: Where progress is said.

        Returns:
            The version directory.

        Raises:
            ConfigError: When the model draws texts.
            ExportError: When the reloaded model does not agree with `predict`.
            ArtifactError: When writing fails.
        """
        if exportable.generator is not None and exportable.generator.draws:
            raise ConfigError(
                "This model draws texts, which would be the same for each request: the seed is part of a graph. Export "
                "one that searches for them, for instance model.with_decoding(beams=4, sampling=False)."
            )
        if directory.exists() and not directory.is_dir():
            raise ExportError(f"{directory} is a file; choose a directory for the model's versions.")
        is_new = not directory.exists()
        try:
            return self._export(exportable, directory.absolute(), console)
        finally:
            if is_new:
                with contextlib.suppress(OSError):  # when the export failed, the base directory is empty
                    directory.rmdir()

    def _export(self, exportable: Exportable, directory: Path, console: Console) -> Path:
        module = ServingModule(
            exportable.model,
            exportable.encoding,
            lambda outputs, context: exportable.task.serve(outputs, context, exportable.learned),
            exportable.generator,
        )
        with temporary_sibling(directory / "version") as folder:
            console.say("export: writing the SavedModel")
            try:
                with _without_assets_line():
                    tf.saved_model.save(
                        module,
                        str(folder),
                        signatures={"serving_default": module.serve},
                        # Nobody trains it, and a backward pass of our own cannot be saved.
                        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
                    )
            except tf.errors.OpError as error:  # what TensorFlow's file system raises, for instance on a full disk
                full = isinstance(error, tf.errors.ResourceExhaustedError)
                reason = "the disk is full" if full else error.message
                raise ExportError(f"The SavedModel could not be written to {directory}: {reason}.") from error
            extra = folder / "assets.extra"
            extra.mkdir(exist_ok=True)
            (extra / "tfft.json").write_text(json.dumps(exportable.metadata, indent=1) + "\n", "utf-8")
            console.say("export: reloading it in a fresh process and comparing it with predict")
            difference = verify(folder, exportable)
            version = _claim(folder, directory)
        console.say(f"export: {version} agrees with predict (largest difference {difference:.1e})")
        return version


@contextlib.contextmanager
def _without_assets_line() -> Iterator[None]:
    """Keeps TensorFlow from naming the temporary directory as the place of the export."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def next_version(names: Sequence[str]) -> int:
    """Returns the next free version number, one above the highest there."""
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=0) + 1


def _claim(folder: Path, directory: Path) -> Path:
    """Renames a finished export to the next free version; never onto one that exists."""
    while True:
        version = directory / str(next_version([item.name for item in directory.iterdir()]))
        try:
            version.mkdir()  # fails when another export took the number in this moment
        except FileExistsError:
            continue
        return folder.rename(version)


register_exporter("saved_model")(SavedModelExporter())
