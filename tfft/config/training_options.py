"""Options of the model, the loss and the optimizer."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from tfft.config.option import Fraction, Name, Positive, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is trained, and by which rule."""

    freeze: Literal["none", "backbone"] = option(
        "none", "Layers that are not trained. backbone: train the head alone, on features computed once."
    )
    peft: Annotated[str, Field(pattern=r"^\w+$")] | dict[str, Any] | None = option(
        None,
        "Parameter-efficient method: its name, for instance lora, or method and options. None: all is trained.",
    )
    train_layers: Name | None = option(
        None, "Layers of the backbone that are trained, besides the head: last:2, layers.0-2, a pattern. None: all."
    )
    quantize_base: Literal["int8", "int4"] | None = option(
        None, "Keep the frozen weights of the backbone in 8 or 4 bits (QLoRA); needs peft. None: as they are."
    )
    encoder: dict[str, Any] | None = option(
        None, "Sizes and tokenizer of a preset that is made from the training rows: lstm_attention or bilstm."
    )
    decoder: dict[str, Any] | None = option(
        None, "Sizes and tokenizer of the decoder of task=seq2seq, for instance hidden_dim, layers, vocabulary_size."
    )
    decoding: dict[str, Any] | None = option(
        None, "How texts are searched for: beams, n_best, length_penalty, sampling and others. None: 4 beams."
    )
    head: Name | None = option(None, "Head of the task, for instance softmax or crf for tagging. None: its first one.")
    pooling: Literal["mean", "first"] = option(
        "mean", "From token features to one vector: masked mean, or first token."
    )
    pair_encoder: Literal["cross", "bi"] = option(
        "cross",
        "How two texts are read. cross: in one row, each sees the other; bi: apart, and their vectors compared.",
    )
    pair_loss: Literal["softmax", "contrastive", "cosine", "triplet", "multiple_negatives"] | None = option(
        None,
        "How the vectors of texts that are read apart are compared. None: softmax for labels, cosine for numbers, "
        "triplet where texts are only known to belong together.",
    )
    dropout: Fraction = option(0.1, "Dropout rate before the head's output layer.")

    epochs: Annotated[int, Field(ge=1)] = option(3, "Passes over the training split.")
    batch_size: Annotated[int, Field(ge=1)] = option(32, "Rows per optimizer step.")
    learning_rate: Positive | None = option(
        None,
        "Peak learning rate. None: 5e-5; 1e-3 when the backbone is frozen; 3e-3 from scratch; or what fits the method.",
    )
    schedule: Literal["linear", "cosine", "constant", "inverse_sqrt", "one_cycle"] = option(
        "linear", "Shape of the learning rate after the warm-up."
    )
    warmup_fraction: Fraction = option(0.1, "Share of all steps in which the learning rate rises linearly to its peak.")
    weight_decay: Annotated[float, Field(ge=0.0)] = option(
        0.01, "Decoupled weight decay (AdamW); never on biases and normalisation."
    )
    clip_norm: Positive | None = option(1.0, "Largest global gradient norm. None: no clipping.")
    clip_value: Positive | None = option(None, "Largest size of a single gradient element. None: no clipping.")
    gradient_noise: Positive | None = option(
        None, "Variance of the first step's Gaussian gradient noise, which fades with the steps. None: no noise."
    )
    l2: Annotated[float, Field(ge=0.0)] = option(
        0.0, "L2 penalty: adds this times half the squared weights to the loss; not on biases and normalisation."
    )
    optimizer: Name = option("adamw", "Name of a Keras optimizer, for instance adamw, sgd, lamb, lion, adafactor.")
    optimizer_options: dict[str, bool | int | float | str | None] | None = option(
        None, "More arguments of the optimizer, for instance beta_2 or momentum."
    )
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] | None = option(
        None, "Each layer learns at this times the rate of the one above it. None: all at the same rate."
    )
    learning_rates: dict[str, Annotated[float, Field(ge=0.0)]] | None = option(
        None,
        "Peak learning rate of parts: head, embeddings, backbone, layers.0-2 or a pattern of paths to a rate.",
    )
    unfreeze_epochs: Positive | None = option(
        None, "Gradual unfreezing: after each so many epochs one more layer trains, from the top. None: all at once."
    )
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = option(
        None, "Momentum of an exponential moving average of the weights, which is validated and kept. None: no average."
    )
    swa_start: Fraction | None = option(
        None, "Share of the epochs after which the weights at the end of each are averaged (SWA). None: no average."
    )
    label_smoothing: Fraction = option(0.0, "Share of the target probability that is spread over all classes.")
    class_weights: Literal["balanced"] | dict[str, Positive] | None = option(
        None, "Weight of each class in the training loss: balanced, or label to weight."
    )
    regression_loss: Literal["mse", "mae", "huber"] = option(
        "mse", "Loss of predicted numbers, in standard deviations of the target: squared, absolute, or Huber's."
    )
    thresholds: Literal["tuned"] | Annotated[float, Field(gt=0.0, lt=1.0)] = option(
        "tuned",
        "Least probability with which one of several labels is given. tuned: for each label that with the best F1 on "
        "the validation split.",
    )
    focal_gamma: Positive | None = option(
        None, "Focal loss: how strongly rows that are already right are discounted. None: cross-entropy."
    )
    r_drop: Annotated[float, Field(ge=0.0)] = option(
        0.0, "R-Drop: weight of the divergence between two passes with different dropout. 0: one pass."
    )
    monitor: Annotated[str, Field(pattern=r"^val_\w+$")] = option(
        "val_loss",
        "Validation figure that chooses the epoch whose weights are kept, such as val_macro_f1 or val_entity_f1.",
    )
    patience: Annotated[int, Field(ge=1)] | None = option(
        None, "Stop after so many epochs without a better monitor. None: train all epochs."
    )
