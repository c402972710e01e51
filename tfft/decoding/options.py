"""How sequences are decoded: which tokens mean what, how long they may be, how many beams, what sampling leaves out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfft.core.errors import ConfigError

#: What is added before rounding down, so that 0.29 * 100 is 29.
_ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The ids that decoding has to know. They may coincide, as they do in some pretrained models.

    Attributes:
        pad: Id behind the end of a decoded sequence; never chosen, unless it is `end`.
        start: Id that the first step is given; never chosen, unless it is `end`.
        end: Id that ends a sequence; it is not part of the result.
        banned: Ids that are never chosen either, such as that for unknown words.
    """

    pad: int
    start: int
    end: int
    banned: Sequence[int] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "banned", tuple(self.banned))
        named = {"pad": self.pad, "start": self.start, "end": self.end}
        for name, token in [*named.items(), *(("banned", token) for token in self.banned)]:
            if token < 0:
                raise ConfigError(f"The token id {name}={token} is below 0; ids count from 0.")
        if self.end in self.banned:
            raise ConfigError(f"The end token {self.end} is among the banned ones; no sequence could end.")

    def never(self, vocabulary_size: int) -> list[int]:
        """Returns which ids are never chosen.

        Args:
            vocabulary_size: Number of tokens that the model knows.

        Returns:
            The ids, ascending.

        Raises:
            ConfigError: When the vocabulary lacks one of the ids.
        """
        never = {self.pad, self.start, *self.banned} - {self.end}
        greatest = max(never | {self.end})
        if greatest >= vocabulary_size:
            raise ConfigError(
                f"The special tokens name the id {greatest}, but the model gives logits of {vocabulary_size} tokens, "
                f"0 to {vocabulary_size - 1}. Take the ids from the tokenizer of the decoder."
            )
        return sorted(never)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthOptions:
    """How long sequences may become, and what their length is worth.

    A sequence has at most `ratio * source_length + offset` tokens, rounded down, and at most `most`; the end token is
    not counted. A sequence of that many tokens can only end.

    Attributes:
        most: Greatest length of any sequence; results have this width.
        ratio: Tokens for each token of the source.
        offset: Tokens that are added to that.
        penalty: Exponent of the length penalty (Wu et al. 2016, https://arxiv.org/abs/1609.08144, eq. 14): a
            log-probability is divided by `((5 + length) / 6) ** penalty`, where the end token is counted, as the
            log-probability has a term for it. 0 prefers short sequences. The default is that of Vaswani et al. 2017,
            section 6.1.
    """

    most: int = 256
    ratio: float = 2.0
    offset: int = 10
    penalty: float = 0.6

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigError(f"most={self.most}, but a sequence needs room for at least 1 token.")
        if not 0 <= self.ratio < math.inf:
            raise ConfigError(f"ratio={self.ratio:g}; it has to be a finite number, 0 or more.")
        if not 0 <= self.penalty < math.inf:
            raise ConfigError(
                f"penalty={self.penalty:g}; it has to be a finite number, 0 or more: 0 is none, 1 nearly the mean "
                "over tokens."
            )

    def limits(self, source_lengths: tf.Tensor) -> tf.Tensor:
        """Returns the greatest length of each row.

        Args:
            source_lengths: Number of tokens of each source, int `(batch,)`.

        Returns:
            Int32 `(batch,)`, from 0 to `most`.
        """
        wanted = tf.cast(source_lengths, tf.float64) * self.ratio + self.offset
        return tf.cast(tf.clip_by_value(tf.floor(wanted + _ROUNDING), 0, self.most), tf.int32)

    def penalties(self) -> np.ndarray:
        """Returns the divisor of each length from 0 to `most`, float32 of shape `(most + 1,)`."""
        counted = np.arange(self.most + 1) + 1.0  # with the end token
        return (((5.0 + counted) / 6.0) ** self.penalty).astype("float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamOptions:
    """How wide a beam search is.

    Attributes:
        beams: Number of hypotheses that are followed at once.
        n_best: How many of them are given back, best first.
    """

    beams: int = 4
    n_best: int = 1

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise ConfigError(f"beams={self.beams}, but a search follows at least 1 hypothesis.")
        if not 1 <= self.n_best <= self.beams:
            raise ConfigError(
                f"n_best={self.n_best}, but of beams={self.beams} from 1 to {self.beams} hypotheses can be given back."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """From which distribution tokens are drawn; without truncation and at temperature 1 it is the model's own.

    Attributes:
        temperature: What logits are divided by: below 1 likely tokens become likelier.
        top_k: Only so many of the likeliest tokens are drawn; None for all (Fan et al. 2018,
            https://arxiv.org/abs/1805.04833, section 5.1). Of equally likely tokens the lower ids are kept.
        top_p: Only the likeliest tokens are drawn that together reach this share of probability, with temperature and
            `top_k` applied; 1 for all (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751, eq. 2 and 3).
        samples: How many sequences are drawn for each source.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    samples: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"temperature={self.temperature:g}; it has to be a finite number above 0. For the likeliest token at "
                "each step use greedy search."
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k={self.top_k}; it has to be at least 1, or None for all tokens.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p:g}; it has to be above 0 and at most 1, which keeps all tokens.")
        if self.samples < 1:
            raise ConfigError(f"samples={self.samples}, but at least 1 sequence is drawn for each source.")
