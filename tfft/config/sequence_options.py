"""Options of models that write texts: their tokenizers, sizes, and how texts are searched for."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from tfft.core.errors import ConfigError

#: How texts become tokens. "integers": they are numbers already, such as "5 17 3".
TokenizerKind = Literal["auto", "unigram", "bpe", "words", "integers"]
AttentionScore = Literal["general", "dot", "additive"]

_Size = Annotated[int, Field(ge=1)]
_Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerOptions:
    """How a tokenizer is learned of the training rows.

    Attributes:
        tokenizer: "unigram" and "bpe" for pieces of words by SentencePiece, "words" for what stands between white
            space, "integers" for texts that are numbers already. "auto": "integers" where all texts are that, else
            "unigram".
        vocabulary_size: Most tokens; of words the most frequent ones. None: of pieces a fifth of the number of training
            rows, from 1,000 to 8,000 (few rows want few pieces: Sennrich and Zhang 2019,
            https://aclanthology.org/P19-1021), and at least 1,000 more than there are characters; 30,000 words.
        min_count: How often the training rows must have a word, where tokens are words.
        character_coverage: Share of the characters that have pieces; below 1 for languages with thousands of them.
        lowercase: Whether case is folded, where tokens are pieces. Texts are written in lower case then.
        vocabulary_file: File of tokens, one a line, for columns of numbers: a number is that of a line, from 0. Texts
            are these tokens then, in predictions as well.
    """

    tokenizer: TokenizerKind = "auto"
    vocabulary_size: Annotated[int, Field(ge=8, le=2**20)] | None = None
    min_count: _Size = 1
    character_coverage: Annotated[float, Field(ge=0.98, le=1.0)] = 1.0
    lowercase: bool = False
    vocabulary_file: Annotated[str, Field(min_length=1)] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderOptions(TokenizerOptions):
    """Options of the preset "lstm_attention": a bidirectional LSTM over tokens of its own.

    Attributes:
        embedding_dim: Size of the vector of a token.
        hidden_dim: Size of the output, half of it for each direction.
        layers: Number of bidirectional layers.
        dropout: Share of the inputs of each layer that is dropped in training, the same in each step.
        recurrent_dropout: Share of hidden states that is dropped on the way into the gates in training.
    """

    embedding_dim: _Size = 256
    hidden_dim: Annotated[int, Field(ge=2, multiple_of=2)] = 256
    layers: _Size = 1
    dropout: _Rate = 0.3
    recurrent_dropout: _Rate = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecoderOptions(TokenizerOptions):
    """Options of the LSTM decoder with attention.

    Attributes:
        embedding_dim: Size of the vector of a token.
        hidden_dim: Size of hidden states and of what predicts tokens.
        layers: Number of LSTM layers.
        attention: "general" and "dot" for multiplicative scores (Luong et al. 2015), "additive" for those of Bahdanau
            et al. 2015.
        input_feeding: Whether what was attended to enters the next step (Luong et al. 2015, section 3.3). Steps are run
            one by one then, which takes longer.
        tied_embeddings: Whether the vectors of tokens are the output weights too (Press and Wolf 2017).
        dropout: Share of the inputs of each layer, and of what predicts tokens, that is dropped in training.
        recurrent_dropout: Share of hidden states that is dropped on the way into the gates in training.
    """

    embedding_dim: _Size = 256
    hidden_dim: _Size = 256
    layers: _Size = 1
    attention: AttentionScore = "general"
    input_feeding: bool = False
    tied_embeddings: bool = True
    dropout: _Rate = 0.3
    recurrent_dropout: _Rate = 0.0

    def __post_init__(self) -> None:
        if self.tied_embeddings and self.embedding_dim != self.hidden_dim:
            raise ConfigError(
                f"decoder: tied_embeddings needs embedding_dim and hidden_dim to be the same; they are "
                f"{self.embedding_dim} and {self.hidden_dim}. Make them equal, or set tied_embeddings to false."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How texts are searched for.

    Attributes:
        beams: Hypotheses that are followed at once; 1 for greedy search.
        n_best: How many texts are given for each row, the best first.
        length_penalty: Exponent of the length penalty (Wu et al. 2016, eq. 14); 0 prefers short texts.
        max_length: Most tokens of a text.
        max_length_ratio: Most tokens of a text for each token of the source.
        max_length_offset: Tokens that are added to that.
        sampling: Whether tokens are drawn, not searched for; then `beams` has to be 1, and `n_best` texts are drawn.
        temperature: What logits are divided by before tokens are drawn; below 1 likely tokens become likelier.
        top_k: Only so many of the likeliest tokens are drawn; None for all.
        top_p: Only the likeliest tokens are drawn that together have this probability.
        seed: Decides what is drawn.
    """

    beams: _Size = 4
    n_best: _Size = 1
    length_penalty: Annotated[float, Field(ge=0.0)] = 0.6
    max_length: _Size = 256
    max_length_ratio: Annotated[float, Field(ge=0.0)] = 2.0
    max_length_offset: Annotated[int, Field(ge=0)] = 10
    sampling: bool = False
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    top_k: _Size | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.sampling and self.beams != 1:
            problems.append(f"decoding: sampling draws one token after another; set beams to 1, not {self.beams}.")
        if not self.sampling and self.n_best > self.beams:
            problems.append(
                f"decoding: n_best is {self.n_best}, but of {self.beams} beams there are {self.beams} results; raise "
                "beams."
            )
        of_sampling = {"temperature": 1.0, "top_k": None, "top_p": 1.0, "seed": 0}
        idle = [name for name, default in of_sampling.items() if getattr(self, name) != default]
        if idle and not self.sampling:
            problems.append(f"decoding: {' and '.join(idle)} only count with sampling; set it, or leave them out.")
        if problems:
            raise ConfigError("\n".join(problems))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthLimits:
    """Which pairs are left out for their lengths, in words; where there are no spaces, in characters.

    Attributes:
        most_source: Most words of a source; None for any.
        most_target: Most words of a target; None for any.
        most_ratio: How many times as long one side may be as the other; None for any.
    """

    most_source: _Size | None = None
    most_target: _Size | None = None
    most_ratio: Annotated[float, Field(ge=1.0)] | None = None
