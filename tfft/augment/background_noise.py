"""Noise at a given distance below the signal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import tensorflow as tf
from pydantic import Field

from tfft.augment._chosen_rows import change_chosen
from tfft.augment._recordings import read_recordings
from tfft.augment._waveforms import (
    PROBABILITY_HELP,
    Decibel,
    check_waveforms,
    valid_mask,
)
from tfft.augment.base import (
    ArrayBatch,
    AugmentationContext,
    Modality,
    Probability,
    Transform,
    option,
    register_augmentation,
)
from tfft.core.errors import ConfigError

#: From how many rows and samples, and a seed, to noise of any power, float32 `(rows, samples)`.
Noise = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@register_augmentation("background_noise")
@dataclasses.dataclass(frozen=True, kw_only=True)
class BackgroundNoise:
    """Adds noise to each chosen row so that `10 log10(signal power / noise power)` is a number drawn evenly, in dB.

    Power is the mean square over the row's valid samples, of the signal and of the very noise that is added, so the
    ratio is exact for each row. Padding gets no noise, a silent row none either. Nothing is clipped, which would alter
    the ratio: samples may leave the range from -1 to 1.
    """

    modality: ClassVar[Modality] = "audio"
    keeps_tags: ClassVar[bool] = False
    hint: ClassVar[str] = "all of them are silent"

    probability: Probability = option(0.5, PROBABILITY_HELP)
    snr_db_min: Decibel = option(10.0, "Smallest ratio of signal to noise in decibels: the loudest noise.")
    snr_db_max: Decibel = option(30.0, "Largest ratio of signal to noise in decibels: the softest noise.")
    noise: Literal["white", "pink", "recordings"] = option(
        "white", "Gaussian noise with the same power at each frequency, or in each octave; or excerpts of recordings."
    )
    recordings: Annotated[str, Field(min_length=1)] | None = option(
        None, "Folder of WAV files of noise; with noise: recordings."
    )
    sampling_rate: Annotated[int, Field(ge=1)] = option(
        16_000, "Samples a second, which the recordings must have; used with noise: recordings."
    )

    def prepare(self, context: AugmentationContext) -> Transform:
        """Returns the function for the input pipeline, and reads the recordings.

        Args:
            context: Keeps the recordings, should this be prepared again.

        Returns:
            The function.

        Raises:
            ConfigError: When the range is empty, or the recordings are missing or not asked for.
        """
        if self.snr_db_min > self.snr_db_max:
            raise ConfigError(f"background_noise: snr_db_min={self.snr_db_min} is above snr_db_max={self.snr_db_max}.")
        if (self.noise == "recordings") != (self.recordings is not None):
            raise ConfigError(
                f"background_noise: noise={self.noise!r} and recordings={self.recordings!r} contradict each other; "
                "recordings takes a folder with noise='recordings' and with nothing else."
            )
        make_noise = self._noise(context)

        def add(rows: ArrayBatch, seed: tf.Tensor) -> tf.Tensor:
            ratio_seed, noise_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
            size, samples = tf.unstack(tf.shape(rows.values))
            noise, signal = make_noise(size, samples, noise_seed), rows.values
            if rows.lengths is not None:
                mask = tf.cast(valid_mask(rows), tf.float32)
                noise, signal = noise * mask, tf.math.multiply_no_nan(signal, mask)
            draw = tf.random.stateless_uniform([size, 1], ratio_seed)
            ratio = tf.pow(10.0, (self.snr_db_min + draw * (self.snr_db_max - self.snr_db_min)) / 10.0)
            # Both are of as many samples, so that the ratio of the sums is that of the powers.
            return rows.values + noise * tf.sqrt(tf.math.divide_no_nan(_energy(signal), ratio * _energy(noise)))

        def transform(batch: ArrayBatch, seed: tf.Tensor) -> tuple[ArrayBatch, tf.Tensor]:
            check_waveforms("background_noise", batch)
            return change_chosen(batch, self.probability, seed, add)

        return transform

    def _noise(self, context: AugmentationContext) -> Noise:
        if self.recordings is None:
            return _white if self.noise == "white" else _pink
        key = ("recordings", self.recordings, self.sampling_rate)
        if key not in context.memo:
            context.memo[key] = read_recordings("background_noise", self.recordings, self.sampling_rate)
        return _excerpts(tf.constant(context.memo[key]))


def _energy(values: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the squares of each row, float32 `(rows, 1)`."""
    return tf.reduce_sum(tf.square(values), axis=1, keepdims=True)


def _white(size: tf.Tensor, samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal([size, samples], seed)


def _pink(size: tf.Tensor, samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """White noise whose power at each frequency f is divided by f; its mean is left out."""
    spectrum = tf.signal.rfft(_white(size, samples, seed))
    frequency = tf.cast(tf.range(tf.shape(spectrum)[1]), tf.float32)
    shape = tf.math.divide_no_nan(1.0, tf.sqrt(frequency))
    return tf.signal.irfft(spectrum * tf.cast(shape, tf.complex64), [samples])


def _excerpts(recordings: tf.Tensor) -> Noise:
    """Excerpts that begin anywhere; the end of the recordings is followed by their beginning."""
    total = recordings.shape[0]

    def excerpts(size: tf.Tensor, samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        start = tf.random.stateless_uniform([size, 1], seed, maxval=total, dtype=tf.int32)
        return tf.gather(recordings, (start + tf.range(samples)) % total)

    return excerpts
