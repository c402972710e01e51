"""Figures of relation extraction: those of a classifier, and those over the relations alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfft.metrics.classification import ClassificationMetrics

_FIGURES = ("f1", "precision", "recall")


@dataclasses.dataclass(frozen=True)
class RelationMetrics(ClassificationMetrics):
    """The figures of a classifier of relations.

    Attributes:
        negative_label: The label of texts whose entities are not related; None when there is none.
        relations: "macro" and "micro", each with f1, precision and recall over all labels but that one. To predict a
            relation where there is none costs precision, to miss one costs recall; to see rightly that there is none
            counts nothing.
    """

    negative_label: str | None
    relations: dict[str, dict[str, float]]

    def scalars(self) -> dict[str, float]:
        """Returns those of a classifier, then `relation_macro_f1`, `relation_micro_f1` and so on."""
        found = super().scalars()
        for average, figures in self.relations.items():
            found |= {f"relation_{average}_{name}": figures[name] for name in _FIGURES}
        return found


def relation_metrics(figures: ClassificationMetrics, negative_label: str | None) -> RelationMetrics:
    """Adds the figures over the relations alone, from counts.

    The micro average is that of the scorer of TACRED (Zhang et al. 2017, https://aclanthology.org/D17-1004). The macro
    average is a mean over labels; each direction of a relation is a label of its own.

    Args:
        figures: The figures of a classifier.
        negative_label: The label that is no relation; None when all are.

    Returns:
        All of them.
    """
    labels = list(figures.per_class)
    relations = [place for place, label in enumerate(labels) if label != negative_label]
    counts = np.array(figures.confusion, dtype=np.int64).reshape(len(labels), len(labels))
    right = counts.diagonal()[relations].sum()
    micro = _averages(right, predicted=counts[:, relations].sum(), true=counts[relations].sum())
    per_class = [figures.per_class[labels[place]] for place in relations]
    macro = {name: _mean([row[name] for row in per_class]) for name in _FIGURES}
    given: dict[str, Any] = {
        field.name: getattr(figures, field.name) for field in dataclasses.fields(ClassificationMetrics)
    }
    return RelationMetrics(**given, negative_label=negative_label, relations={"macro": macro, "micro": micro})


def _averages(right: int, *, predicted: int, true: int) -> dict[str, float]:
    """Returns F1, precision and recall from counts; 0 where there is nothing to count, as for single classes."""
    ends = {"f1": (2 * right, predicted + true), "precision": (right, predicted), "recall": (right, true)}
    return {name: float(part / whole) if whole else 0.0 for name, (part, whole) in ends.items()}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
