"""The head whose outputs are the embeddings of two texts, for losses that compare them."""

from __future__ import annotations

from tfft.heads._apart import EmbeddingsHead
from tfft.heads.base import register_head

register_head("pair_embeddings")(EmbeddingsHead())
