"""The state of Keras callbacks as arrays and JSON, so that a resumed run goes on as if never interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfft.console import Console
from tfft.core.errors import ArtifactError
from tfft.training.plain_data import NotPlainError, from_plain, to_plain

#: Set by the loop for each run; a resumed run may have other ones.
_SET_BY_LOOP = {"params", "_model", "model", "validation_data"}
#: Type of a callback's attribute, outside Keras, whose loss changes nothing: the fresh callback has the same.
_MADE_ANEW = (keras.Model, keras.layers.Layer, keras.optimizers.Optimizer, Console, Path)
CallbackState = tuple[dict[str, np.ndarray], dict[str, Any]]


def callback_state(callback: keras.callbacks.Callback) -> CallbackState:
    """Returns the state of a callback.

    A callback that defines `get_state()` and `set_state(state)` decides itself: its state may be any plain data with
    arrays. Of any other, every attribute of plain data is taken (`plain_data.to_plain`); what cannot be, such as
    functions, files and models, stays as the fresh callback has it.

    Args:
        callback: Any Keras callback.

    Returns:
        Arrays, which are copies, and plain data.

    Raises:
        ArtifactError: When `get_state` gives what cannot be saved.
    """
    arrays: dict[str, np.ndarray] = {}
    document: dict[str, Any] = {"class": _class(callback)}
    if hasattr(callback, "get_state"):
        try:
            document["own"] = to_plain(callback.get_state(), "own", arrays)
        except NotPlainError as error:
            raise ArtifactError(
                f"get_state of {_class(callback)} must return numbers, strings, arrays or containers of these: {error}."
            ) from error
        return arrays, document
    document.update(attributes={}, left=[])
    for name, value in vars(callback).items():
        if name in _SET_BY_LOOP:
            continue
        kept: dict[str, np.ndarray] = {}
        try:
            document["attributes"][name] = to_plain(value, name, kept)
            arrays.update(kept)
        except (NotPlainError, RecursionError):
            if not (callable(value) or isinstance(value, _MADE_ANEW)):
                document["left"].append([name, type(value).__name__])
    if isinstance(callback, keras.callbacks.CSVLogger) and callback.csv_file and not callback.csv_file.closed:
        callback.csv_file.flush()
        document["bytes"] = Path(callback.filename).stat().st_size
    return arrays, document


def prepare_callback(callback: keras.callbacks.Callback, document: Mapping[str, Any]) -> None:
    """Keeps `on_train_begin` of a resumed run from overwriting what the callback had written; to be called before it.

    Only Keras' `CSVLogger` needs it: its file is cut back to the saved position and appended to.

    Args:
        callback: A fresh callback.
        document: The plain data of `callback_state`.

    Raises:
        ArtifactError: When the file has become shorter than it was.
    """
    if not isinstance(callback, keras.callbacks.CSVLogger) or "bytes" not in document:
        return
    path, size = Path(callback.filename), document["bytes"]
    if not path.is_file() or path.stat().st_size < size:
        raise ArtifactError(
            f"{path} is missing or shorter than the {size:,} bytes CSVLogger had written; put it back, or leave the "
            "callback out to resume without it."
        )
    with path.open("r+b") as stream:
        stream.truncate(size)
    callback.append = True


def restore_callback(
    callback: keras.callbacks.Callback, arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]
) -> None:
    """Gives a fresh callback the state of another; to be called after `on_train_begin`, which resets callbacks.

    Args:
        callback: A callback made like the one the state is of.
        arrays: The arrays of `callback_state`.
        document: The plain data of `callback_state`.

    Raises:
        ArtifactError: When the state is that of another class, or `set_state` is missing.
    """
    if document["class"] != _class(callback):
        raise ArtifactError(
            f"The checkpoint has the state of {document['class']} where this run has {_class(callback)}; "
            "pass the same callbacks in the same order."
        )
    if "own" in document:
        if not hasattr(callback, "set_state"):
            raise ArtifactError(f"{_class(callback)} defines get_state without set_state; define both or none.")
        callback.set_state(from_plain(document["own"], arrays))
        return
    present = vars(callback)
    # A file that the callback has opened since, where it had none when it was saved.
    made = {name for name, value in present.items() if value is not None and not _is_plain(value)}
    # Opening its file anew decided these; the saved ones would write the header a second time.
    if isinstance(callback, keras.callbacks.CSVLogger):
        made |= {"append", "append_header", "filename"}
    for name, value in document["attributes"].items():
        if name not in made:
            present[name] = from_plain(value, arrays)


def callbacks_state(callbacks: Sequence[keras.callbacks.Callback]) -> CallbackState:
    """Returns the state of all callbacks of a run.

    Args:
        callbacks: The callbacks, in the order in which they are called.

    Returns:
        Arrays and plain data for `restore_callbacks`.
    """
    arrays: dict[str, np.ndarray] = {}
    documents = []
    for position, callback in enumerate(callbacks):
        own, document = callback_state(callback)
        arrays |= {f"{position}/{name}": array for name, array in own.items()}
        documents.append(document)
    return arrays, {"callbacks": documents}


def prepare_callbacks(callbacks: Sequence[keras.callbacks.Callback], document: Mapping[str, Any]) -> None:
    """Does `prepare_callback` for all callbacks, after checking that they are those of the interrupted run.

    Args:
        callbacks: Fresh callbacks, in the same order.
        document: The plain data of `callbacks_state`.

    Raises:
        ArtifactError: When the callbacks are others.
    """
    saved, given = [item["class"] for item in document["callbacks"]], [_class(callback) for callback in callbacks]
    if saved != given:
        raise ArtifactError(
            f"The interrupted run had the callbacks {', '.join(saved) or 'none'}; this one has "
            f"{', '.join(given) or 'none'}. Pass the same in the same order, or start anew with resume=False."
        )
    for callback, item in zip(callbacks, document["callbacks"], strict=True):
        prepare_callback(callback, item)


def restore_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
    arrays: Mapping[str, np.ndarray],
    document: Mapping[str, Any],
    console: Console,
) -> None:
    """Does `restore_callback` for all callbacks, and says which attributes of a user's own start anew.

    Args:
        callbacks: Fresh callbacks, in the same order, after `on_train_begin`.
        arrays: The arrays of `callbacks_state`.
        document: The plain data of `callbacks_state`.
        console: Where attributes that were not saved are said.
    """
    for position, (callback, item) in enumerate(zip(callbacks, document["callbacks"], strict=True)):
        prefix = f"{position}/"
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        restore_callback(callback, own, item)
        if item.get("left") and type(callback).__module__.split(".")[0] not in ("keras", "tfft"):
            names = ", ".join(f"{name} ({kind})" for name, kind in item["left"])
            console.say(
                f"resumed: {_class(callback)} starts anew with {names}, which is no plain data; "
                "define get_state and set_state to keep it"
            )


def _is_plain(value: Any) -> bool:
    try:
        to_plain(value, "", {})
    except (NotPlainError, RecursionError):
        return False
    return True


def _class(callback: keras.callbacks.Callback) -> str:
    return f"{type(callback).__module__}.{type(callback).__qualname__}"
