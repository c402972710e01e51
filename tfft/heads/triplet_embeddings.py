"""The head whose outputs are the embeddings of an anchor, of a text that belongs to it and of one that does not."""

from __future__ import annotations

from tfft.heads._apart import EmbeddingsHead
from tfft.heads.base import TRIPLET_PREFIXES, register_head


class TripletEmbeddingsHead(EmbeddingsHead):
    """Pooled features of three texts."""

    prefixes = TRIPLET_PREFIXES


register_head("triplet_embeddings")(TripletEmbeddingsHead())
