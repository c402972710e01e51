"""The head that tags each word by itself: dropout and one dense layer."""

from __future__ import annotations

from tfft.heads._words import WordHead
from tfft.heads.base import register_head

register_head("softmax")(WordHead())
