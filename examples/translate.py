"""Translation from scratch on two cores: trains on a table of pairs, reports BLEU, exports, and asks the export.

    python examples/translate.py pairs.tsv.gz [--small]

The file has a key, a source and a target a line, between tabs; keys such as "Genesis 1:1" keep verses of a book in one
split. 15,000 pairs of up to 25 words take about a quarter of an hour; `--small` takes 4,000 of them for two epochs.
"""

from __future__ import annotations

import argparse

import pandas as pd
import tensorflow as tf
import tensorflow_text  # noqa: F401  has the operations of the tokenizer

import tfft


def main() -> None:
    """Trains, exports and asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    table = pd.read_csv(given.pairs, sep="\t", names=["key", "src", "trg"], quoting=3)
    table["book"] = table["key"].str.replace(r"\s+\d+:\d+$", "", regex=True)
    if given.small:
        table = table.sample(4_000, random_state=0)
    model = tfft.fit(
        table,
        task="seq2seq",
        preset="lstm_attention",
        split="grouped",
        group_column="book",
        length_filter={"most_source": 25, "most_target": 25},
        epochs=2 if given.small else 12,
        batch_size=64,
        learning_rate=2e-3,
        label_smoothing=0.1,
        quality={"near_duplicates": "off", "leakage": "drop"},
        output_dir="runs/translate",
        overwrite=True,
    )
    print(model.report)
    version = model.export("saved_models/translate")
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    answer = served(text=tf.constant(["In the beginning, God created the heavens and the earth."]))
    print(answer["text"].numpy()[0].decode(), float(answer["score"][0]))


if __name__ == "__main__":
    main()
