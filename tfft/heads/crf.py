"""The head that tags all words of a row together: a linear-chain conditional random field."""

from __future__ import annotations

from typing import Any

from tfft.heads._words import WordHead
from tfft.heads.base import HeadSpec, register_head
from tfft.layers.crf_scores import CrfScores


class CrfHead(WordHead):
    """Scores of tags at words, and of tags that follow each other.

    Lample et al. 2016, "Neural Architectures for Named Entity Recognition" (arXiv:1603.01360), section 2.2.
    """

    def build(self, pooled: Any, spec: HeadSpec) -> Any:
        """Returns float32 scores of shape `(batch, sequence_length + num_outputs + 2, num_outputs)`."""
        return CrfScores(dtype="float32", name="crf")(super().build(pooled, spec))


register_head("crf")(CrfHead())
