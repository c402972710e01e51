"""The ids in front of every vocabulary that is learned from the data: the same in both languages of a pair."""

from __future__ import annotations

#: What fills rows up, what stands for anything beyond the vocabulary, and what begins and ends a sequence.
PAD, UNKNOWN, START, END = range(4)
#: Number of them: the first id that an entry of a vocabulary may have.
SPECIAL_IDS = 4
#: What an unknown token becomes in a text; SentencePiece writes the same.
UNKNOWN_TEXT = "⁇"
