"""Classifies texts with an exported SavedModel; needs TensorFlow and TensorFlow Text, not tfft.

python examples/ask_saved_model.py saved_models/reviews/1 "what a film" "never again"
"""

from __future__ import annotations

import sys

import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the tokenizer's operations


def main(directory: str, texts: list[str]) -> None:
    """Prints label and probabilities of each text."""
    answer = tf.saved_model.load(directory).signatures["serving_default"](text=tf.constant(texts))
    for text, label, classes, probabilities in zip(
        texts, answer["label"].numpy(), answer["classes"].numpy(), answer["probabilities"].numpy(), strict=True
    ):
        shown = ", ".join(f"{name.decode()} {value:.2f}" for name, value in zip(classes, probabilities, strict=True))
        print(f"  {label.decode():10} {text!r} ({shown})")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
