"""Entity-level figures over a whole split, counted as the evaluation script of CoNLL-2000 and CoNLL-2003 counts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tfft.core.errors import DataError
from tfft.core.tag_schemes import TagScheme, parse_tag, spans_of
from tfft.metrics.base import Table

FIGURES = ("precision", "recall", "f1")


@dataclasses.dataclass(frozen=True)
class EntityMetrics:
    """The figures of a model that tags tokens.

    Attributes:
        rows: Number of rows.
        tokens: Number of tokens.
        loss: Mean loss in nats; None when it was not computed.
        accuracy: Share of tokens whose predicted tag is the true one.
        overall: Precision, recall and f1 over the entities of all types (micro averages), support (true entities) and
            predicted (predicted entities).
        per_type: Type to the same figures; types that are only predicted are among them.
    """

    rows: int
    tokens: int
    loss: float | None
    accuracy: float
    overall: dict[str, float]
    per_type: dict[str, dict[str, float]]

    def scalars(self) -> dict[str, float]:
        """Returns loss, entity F1, precision and recall, and token accuracy."""
        found = {} if self.loss is None else {"loss": self.loss}
        for name in ("f1", "precision", "recall"):
            found[f"entity_{name}"] = self.overall[name]
        found["token_accuracy"] = self.accuracy
        return found

    def tables(self) -> list[Table]:
        """Returns the table of all types, with their sum."""
        figures = [*self.per_type.items(), ("all", self.overall)]
        rows = [
            [name, *(f"{row[figure]:.3f}" for figure in FIGURES), f"{row['support']:.0f}", f"{row['predicted']:.0f}"]
            for name, row in figures
        ]
        return [Table("Per type", ["type", *FIGURES, "entities", "predicted"], rows)]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data."""
        return dataclasses.asdict(self)


def entity_metrics(
    true_tags: Sequence[Sequence[str]],
    predicted_tags: Sequence[Sequence[str]],
    scheme: TagScheme,
    *,
    loss: float | None = None,
) -> EntityMetrics:
    """Counts entities as conlleval does.

    A predicted entity is correct when there is a true one of the same type with the same first and last token.
    Sequences that are not valid in the scheme are counted as well: I- begins an entity after "O" and after another
    type. conlleval (https://www.clips.uantwerpen.be/conll2000/chunking/conlleval.txt) has no S-; in "bioes", E- and S-
    are read as its later versions in Python and seqeval read them. In "plain" a run of one tag is an entity. A share of
    nothing is 0.

    Args:
        true_tags: The true tags of each row.
        predicted_tags: The predicted tags of each row, as many as there are true ones.
        scheme: The scheme of both.
        loss: Mean loss in nats, to be kept with the figures.

    Returns:
        The figures.

    Raises:
        DataError: When tags are none of the scheme, or there are not as many predicted as true ones.
    """
    true, predicted, correct = Counter[str](), Counter[str](), Counter[str]()
    tokens = same = 0
    if len(true_tags) != len(predicted_tags):
        raise DataError(
            f"There are {len(true_tags):,} rows of true tags, but {len(predicted_tags):,} of predicted ones."
        )
    for number, (row, predicted_row) in enumerate(zip(true_tags, predicted_tags, strict=True), 1):
        if len(row) != len(predicted_row):
            raise DataError(f"Row {number} has {len(row):,} true tags, but {len(predicted_row):,} predicted ones.")
        found, expected = spans_of(predicted_row, scheme), spans_of(row, scheme)
        true.update(span.type for span in expected)
        predicted.update(span.type for span in found)
        correct.update(span.type for span in set(expected).intersection(found))
        tokens += len(row)
        same += sum(
            parse_tag(tag, scheme) == parse_tag(other, scheme) for tag, other in zip(row, predicted_row, strict=True)
        )
    return EntityMetrics(
        rows=len(true_tags),
        tokens=tokens,
        loss=loss,
        accuracy=_ratio(same, tokens),
        overall=_figures(correct.total(), true.total(), predicted.total()),
        per_type={kind: _figures(correct[kind], true[kind], predicted[kind]) for kind in sorted({*true, *predicted})},
    )


def _figures(correct: int, true: int, predicted: int) -> dict[str, float]:
    return {
        "precision": _ratio(correct, predicted),
        "recall": _ratio(correct, true),
        "f1": _ratio(2 * correct, true + predicted),
        "support": float(true),
        "predicted": float(predicted),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
