"""Loads a SavedModel the ways its users do, and writes down its answers.

Run as a program in a fresh process: `python _verify_worker.py SAVED_MODEL INPUTS.json ANSWERS.json`. It must not import
tfft, Keras or KerasHub, since a server has none of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the tokenizer ops, which TF Serving links in
from tensorflow.core.protobuf import saved_model_pb2


def by_python_loader(folder: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Answers through `tf.saved_model.load`."""
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    given = {name: tf.constant(strings) for name, strings in inputs.items()}
    return {name: value.numpy() for name, value in signature(**given).items()}


def by_session_loader(folder: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Answers through a v1 session, which restores variables as TF Serving's C++ loader does."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        signature = meta_graph.signature_def["serving_default"]
        fetches = {name: tensor.name for name, tensor in signature.outputs.items()}
        given = {signature.inputs[name].name: strings for name, strings in inputs.items()}
        answers: dict[str, Any] = session.run(fetches, given)
        return answers


def needs_xla(folder: str) -> bool:
    """Tells whether a function insists on XLA, which TF Serving has off by default."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((Path(folder) / "saved_model.pb").read_bytes())
    return any(
        function.attr["_XlaMustCompile"].b
        for meta_graph in model.meta_graphs
        for function in meta_graph.graph_def.library.function
        if "_XlaMustCompile" in function.attr
    )


def plain(value: np.ndarray) -> Any:
    """Returns an array as JSON can hold it."""
    if value.dtype == object:
        return np.frompyfunc(lambda item: item.decode("utf-8"), 1, 1)(value).tolist()
    return value.tolist()


def main(folder: str, question: str, answer: str) -> None:
    """Writes the answers of every loader, of the second one to two requests."""
    if needs_xla(folder):
        raise SystemExit("a function insists on XLA, which TF Serving has off by default")
    # Half a surrogate pair has no bytes; tfft replaces it, too.
    inputs = {
        name: np.array([text.encode("utf-8", "replace") for text in texts], dtype=object)
        for name, texts in json.loads(Path(question).read_text("utf-8")).items()
    }
    rows = len(next(iter(inputs.values())))
    bounds = [(0, rows // 2), (rows // 2, rows)]
    parts = [{name: texts[start:end] for name, texts in inputs.items()} for start, end in bounds if end > start]
    answers = {
        "tf.saved_model.load": [by_python_loader(folder, inputs)],
        "session loader": [by_session_loader(folder, part) for part in parts],
    }
    document = {
        loader: [{name: plain(value) for name, value in found.items()} for found in answered]
        for loader, answered in answers.items()
    }
    Path(answer).write_text(json.dumps(document), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:4])
