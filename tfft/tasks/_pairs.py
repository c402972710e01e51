"""What the tasks share whose examples are two texts each, or three."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfft.config import FitConfig
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError, unknown_name
from tfft.core.learned import Learned
from tfft.data.read import Reader
from tfft.data.schema import HowToRead, TextExamples
from tfft.data.text_pairs import FIRST, SECOND, joined_texts, pair_examples
from tfft.metrics.pair_baselines import Pairs
from tfft.tasks.base import Task, unlabelled

if TYPE_CHECKING:
    import tensorflow as tf

    from tfft.backbones.base import TextBackbone
    from tfft.encoding.base import RowEncoding

#: Head of each loss of a bi-encoder.
_HEADS = {
    "softmax": "pair_softmax",
    "contrastive": "pair_embeddings",
    "cosine": "pair_embeddings",
    "triplet": "triplet_embeddings",
    "multiple_negatives": "pair_embeddings",
}
#: Options that have no effect where embeddings are compared, since there are no logits; and what asks for none.
_FOR_LOGITS = {"label_smoothing": 0.0, "focal_gamma": None, "r_drop": 0.0, "dropout": 0.0}
#: Heads whose outputs are embeddings.
_EMBED = ("pair_embeddings", "triplet_embeddings")
_PAIR = 2
#: Least squared length of an embedding.
_LEAST_SQUARE = 1e-12


class PairTask(Task):
    """Two texts an example, read together (cross-encoder) or apart (bi-encoder).

    Attributes:
        losses: Losses of bi-encoders, the default first.
        numbers: Whether labels are numbers.
        apart: Whether texts are always read apart.
        column_options: The options that name columns.
    """

    losses: ClassVar[tuple[str, ...]]
    numbers: ClassVar[bool] = False
    apart: ClassVar[bool] = False
    column_options: ClassVar[tuple[str, ...]] = ("first_column", "second_column", "label_column")

    def head(self, config: FitConfig) -> str:
        """Returns the classifier's name for cross-encoders, and that of the loss's head for bi-encoders."""
        loss = self.pair_loss(config)
        return "classifier" if loss is None else _HEADS[loss]

    def pair_loss(self, config: FitConfig) -> str | None:
        """Returns the loss of a bi-encoder.

        Args:
            config: The run's options.

        Returns:
            Its name; None for a cross-encoder.

        Raises:
            ConfigError: When options do not go together.
        """
        loss = config.pair_loss or self.losses[0] if self.apart or config.pair_encoder == "bi" else None
        problems = [message for broken, message in self.rules(config, loss) if broken]
        if problems:
            raise ConfigError("\n".join(problems))
        return loss

    def rules(self, config: FitConfig, loss: str | None) -> list[tuple[bool, str]]:
        """Returns whether each rule between options is broken, and what to say then.

        Args:
            config: The run's options.
            loss: The loss of a bi-encoder, not known to exist; None for a cross-encoder.

        Returns:
            The rules.
        """
        embeds = loss is not None and _HEADS[loss] in _EMBED
        idle = [
            name
            for name, off in _FOR_LOGITS.items()
            if embeds and getattr(config, name) not in (off, option_default(name))
        ]
        names = [getattr(config, name) for name in self.column_options]
        options = f"{', '.join(self.column_options[:-1])} and {self.column_options[-1]}"
        return [
            (
                loss is None and config.pair_loss is not None,
                f"pair_loss={config.pair_loss!r} compares the vectors of pair_encoder='bi'; set that, or leave it out.",
            ),
            (
                loss is not None and loss not in self.losses,
                f"pair_loss: {unknown_name(f'loss of {config.task}', str(loss), self.losses)}",
            ),
            (
                config.similar_label is not None and loss != "contrastive",
                "similar_label is for pair_encoder='bi' with pair_loss='contrastive'; leave it out.",
            ),
            (
                bool(idle),
                f"{' and '.join(idle)} has no effect with pair_loss={loss!r}, which compares vectors as they are; "
                "leave it out.",
            ),
            (
                len(set(names)) < len(names),
                f"{options} are {', '.join(map(repr, names))}; they must differ.",
            ),
        ]

    def columns(self, config: FitConfig, *, labelled: bool) -> list[str]:
        """Returns the columns of both texts and, when labelled, the label column."""
        self.pair_loss(config)
        texts = [config.first_column, config.second_column]
        return [*texts, config.label_column] if labelled else texts

    def examples(
        self, reader: Reader, config: FitConfig, *, labelled: bool, how: HowToRead, console: Console
    ) -> TextExamples:
        """Reads a source, checks its rows and takes both texts and the label or number."""
        return pair_examples(
            reader,
            first_column=config.first_column,
            second_column=config.second_column,
            label_column=config.label_column if labelled else None,
            numbers=self.numbers,
            how=how,
            console=console,
        )

    def takes(self, data: Any) -> bool:
        """Tells a list of pairs from a list of rows with names."""
        return isinstance(data, (list, tuple)) and bool(data) and isinstance(data[0], (list, tuple))

    def from_inputs(self, inputs: Any) -> TextExamples:
        """Takes a list of pairs of texts.

        Args:
            inputs: What the caller gave.

        Returns:
            Examples without labels.

        Raises:
            DataError: When it is something else.
        """
        advice = "Write predict([(first, second)])."
        try:
            found: list[Any] = [inputs] if isinstance(inputs, (str, bytes)) else list(inputs)
        except TypeError:
            raise DataError(f"A list of pairs of texts is expected; received a {type(inputs).__name__}.") from None
        for place, item in enumerate(found):
            if not isinstance(item, (list, tuple)):
                kind = type(item).__name__
                raise DataError(f"Pairs of texts are expected; the item at position {place} is a {kind}. {advice}")
            kinds = [type(text).__name__ for text in item]
            if len(item) != _PAIR or not all(isinstance(text, str) for text in item):
                raise DataError(
                    f"Pairs are two strings each; the item at position {place} holds {', '.join(kinds) or 'nothing'}. "
                    f"{advice}"
                )
        firsts, seconds = [first for first, _ in found], [second for _, second in found]
        return unlabelled(joined_texts(firsts, seconds), {FIRST: firsts, SECOND: seconds})

    def inputs(self, examples: TextExamples) -> list[Any]:
        """Returns examples as pairs."""
        return [list(pair) for pair in zip(examples.columns[FIRST], examples.columns[SECOND], strict=True)]

    def serving_inputs(self, inputs: Sequence[Any]) -> dict[str, list[str]]:
        """Returns pairs as the serving signature takes them: `first` and `second`."""
        return {FIRST: [first for first, _ in inputs], SECOND: [second for _, second in inputs]}

    def unpleasant(self, texts: Sequence[str]) -> list[Any]:
        """Returns each text before and after another one, and before itself."""
        others = [*texts[1:], *texts[:1]]
        pairs = [*zip(texts, others, strict=True), *zip(others, texts, strict=True), *zip(texts, texts, strict=True)]
        return [list(pair) for pair in pairs]

    def settings(self, config: FitConfig) -> dict[str, Any]:
        """Returns what of the options decides how outputs are decoded."""
        loss = self.pair_loss(config)
        return {"pair_encoder": "cross" if loss is None else "bi", "pair_loss": loss}

    def encoding(
        self, backbone: TextBackbone, config: FitConfig, learned: Learned, sequence_length: int | None
    ) -> RowEncoding:
        """Returns the encoding of pairs in one row, or apart."""
        if learned.settings["pair_encoder"] == "bi":
            from tfft.encoding.pairs_apart import PairsApartEncoding

            triplets = learned.settings["pair_loss"] == "triplet"
            return PairsApartEncoding(backbone, sequence_length=sequence_length, triplets=triplets)
        from tfft.encoding.pairs import PairEncoding

        return PairEncoding(backbone, sequence_length=sequence_length)


def pairs_of(examples: TextExamples) -> Pairs:
    """Returns the texts of examples as baselines take them."""
    return Pairs(examples.columns[FIRST], examples.columns[SECOND])


def option_default(name: str) -> Any:
    """Returns the default of an option of a run."""
    return next(field.default for field in dataclasses.fields(FitConfig) if field.name == name)


def compares_embeddings(learned: Learned) -> bool:
    """Tells whether outputs are embeddings, of shape `(rows, texts, hidden_dim)`."""
    loss = learned.settings["pair_loss"]
    return loss is not None and _HEADS[loss] in _EMBED


def cosines(embeddings: np.ndarray) -> np.ndarray:
    """Returns the cosine of the first two embeddings of each row.

    Args:
        embeddings: Float of shape `(rows, 2, hidden_dim)`; what is beyond the second one is not looked at.

    Returns:
        Float64 of shape `(rows,)`.
    """
    first, second = (np.asarray(embeddings[:, side], dtype=np.float64) for side in range(_PAIR))
    squares = [np.maximum((item * item).sum(axis=1), _LEAST_SQUARE) for item in (first, second)]
    found: np.ndarray = (first * second).sum(axis=1) / np.sqrt(squares[0] * squares[1])
    return found


def served_cosines(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns what `cosines` does, in the graph, as float32."""
    import tensorflow as tf

    embeddings = tf.cast(embeddings, tf.float32)
    square = tf.reduce_sum(tf.square(embeddings), axis=-1, keepdims=True)
    unit = embeddings * tf.math.rsqrt(tf.maximum(square, _LEAST_SQUARE))
    return tf.reduce_sum(unit[:, 0] * unit[:, 1], axis=-1)
