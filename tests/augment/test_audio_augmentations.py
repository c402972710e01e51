"""Each audio augmentation against NumPy: ratios in decibels, shifts, gains and masks, on sines of several lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy import signal, stats
from scipy.io import wavfile

from tfft.augment.base import ArrayBatch, AugmentationContext, augmentations
from tfft.console import Console
from tfft.core.errors import ConfigError, DataError

CONTEXT = AugmentationContext(texts=(), console=Console(quiet=True), seed=0)
RATE = 16_000
SIZE, SAMPLES = 200, 1600
LENGTHS = np.linspace(400, SAMPLES, SIZE).astype("int32")


def sines(lengths: np.ndarray = LENGTHS, samples: int = SAMPLES) -> np.ndarray:
    """A sine of a loudness and pitch of its own for each row, and zeros behind it."""
    time = np.arange(samples) / RATE
    rows = [(0.05 + 0.9 * row / SIZE) * np.sin(2 * np.pi * (200 + 7 * row) * time) for row in range(len(lengths))]
    return np.where(np.arange(samples) < lengths[:, None], np.stack(rows), 0.0).astype("float32")


def run(name: str, values: np.ndarray, lengths: np.ndarray | None = None, seed: int = 0, **options: Any) -> Any:
    """Runs an augmentation on all rows; returns values and which rows changed, as arrays."""
    transform = augmentations.get(name)(**{"probability": 1.0, **options}).prepare(CONTEXT)
    batch = ArrayBatch(tf.constant(values), None, None if lengths is None else tf.constant(lengths))
    after, changed = transform(batch, tf.constant([seed, 1]))
    return after.values.numpy(), changed.numpy()


def refused(name: str, message: str, **options: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        augmentations.get(name)(**options).prepare(CONTEXT)


# Noise


def ratios(before: np.ndarray, after: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Ratio of signal to noise of each row in decibels, over its valid samples."""
    rows = zip(before.astype("float64"), after, lengths, strict=True)
    powers = [((old[:length] ** 2).mean(), ((new - old)[:length] ** 2).mean()) for old, new, length in rows]
    return np.array([10 * np.log10(loud / soft) for loud, soft in powers])


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder of two recordings of noise, in two formats."""
    hum = 0.5 * np.sin(2 * np.pi * 50 * np.arange(3000) / RATE)
    hiss = np.random.default_rng(5).normal(scale=0.1, size=(2500, 2))
    wavfile.write(tmp_path / "a.wav", RATE, (hum * 32767).astype("int16"))
    (tmp_path / "below").mkdir()
    wavfile.write(tmp_path / "below" / "b.WAV", RATE, hiss.astype("float32"))
    return tmp_path


@pytest.mark.parametrize("noise", ["white", "pink", "recordings"])
def test_the_ratio_of_signal_to_noise_is_even_in_decibels_and_exact(noise: str, recordings: Path) -> None:
    folder = {"recordings": str(recordings)} if noise == "recordings" else {}
    options = {"noise": noise, "snr_db_min": -5.0, "snr_db_max": 20.0, **folder}
    after, changed = run("background_noise", sines(), LENGTHS, **options)
    assert changed.all()
    found = ratios(sines(), after, LENGTHS)
    assert -5.001 <= found.min() < -4.0
    assert 19.0 < found.max() <= 20.001
    assert stats.kstest(found, stats.uniform(-5, 25).cdf).statistic < 0.1
    after, _ = run("background_noise", sines(), LENGTHS, **{**options, "snr_db_min": 3.0, "snr_db_max": 3.0})
    np.testing.assert_allclose(ratios(sines(), after, LENGTHS), 3.0, atol=1e-3)


def slope(noise: np.ndarray) -> float:
    """Exponent of the power spectrum over the frequency."""
    frequencies, power = signal.welch(noise, nperseg=512)
    kept = slice(4, -8)
    return float(np.polyfit(np.log(frequencies[kept]), np.log(power.mean(axis=0)[kept]), 1)[0])


@pytest.mark.parametrize(("noise", "exponent"), [("white", 0.0), ("pink", -1.0)])
def test_noise_has_the_spectrum_of_its_colour(noise: str, exponent: float) -> None:
    before = np.ones((40, 8000), "float32")
    after, _ = run("background_noise", before, noise=noise)
    added = (after - before) / (after - before).std(axis=1, keepdims=True)
    assert abs(slope(added) - exponent) < 0.05
    assert stats.kstest(added[:, ::50].ravel(), stats.norm.cdf).statistic < 0.04
    correlations = np.corrcoef(added)[~np.eye(40, dtype=bool)]
    assert np.abs(correlations).max() < (0.06 if noise == "white" else 0.5)


def test_recorded_noise_is_an_excerpt_of_the_recordings(recordings: Path) -> None:
    _, hum = wavfile.read(recordings / "a.wav")
    _, hiss = wavfile.read(recordings / "below" / "b.WAV")
    everything = np.concatenate([hum / 32768, hiss.mean(axis=1)])
    circle = np.concatenate([everything, everything[:SAMPLES]])
    before = np.ones((24, SAMPLES), "float32")
    after, _ = run("background_noise", before, noise="recordings", recordings=str(recordings))
    starts = []
    for added in (after - before).astype("float64"):
        excerpts = np.lib.stride_tricks.sliding_window_view(circle, SAMPLES)[: len(everything)]
        likeness = excerpts @ added / np.linalg.norm(excerpts, axis=1) / np.linalg.norm(added)
        assert likeness.max() > 0.9999
        starts.append(likeness.argmax())
    assert np.min(starts) < 0.2 * len(everything)
    assert np.max(starts) > 0.8 * len(everything)


def test_recordings_that_cannot_be_used_are_refused(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty, silent = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("silent")
    wavfile.write(silent / "s.wav", RATE, np.full(100, 128, "uint8"))
    options = {"noise": "recordings", "recordings": str(recordings)}
    refused(
        "background_noise", r"a\.wav has 16000 samples a second, sampling_rate says 8000", **options, sampling_rate=8000
    )
    refused("background_noise", "holds no WAV files", noise="recordings", recordings=str(empty))
    refused("background_noise", "are silent", noise="recordings", recordings=str(silent))
    refused("background_noise", "contradict each other", noise="recordings")
    refused("background_noise", "contradict each other", noise="pink", recordings=str(recordings))
    refused("background_noise", "snr_db_min=9.0 is above snr_db_max=3.0", snr_db_min=9.0, snr_db_max=3.0)
    (recordings / "c.wav").write_bytes(b"RIFF but no more")
    refused("background_noise", r"c\.wav cannot be read as WAV", **options)


# Gain


def test_gain_is_even_in_decibels() -> None:
    before = sines()
    after, changed = run("gain", before, LENGTHS, gain_db_min=-12.0, gain_db_max=-1.0)
    assert changed.all()
    factors = (before * after).sum(axis=1) / (before.astype("float64") ** 2).sum(axis=1)
    np.testing.assert_allclose(after, factors[:, None] * before, atol=1e-6)
    found = 20 * np.log10(factors)
    assert -12.001 <= found.min() <= found.max() <= -0.999
    assert stats.kstest(found, stats.uniform(-12, 11).cdf).statistic < 0.1


def test_loud_samples_are_clipped_to_the_peak_and_only_what_gain_raised() -> None:
    before = sines()
    before[-20:] *= 4.0  # louder than the peak as they are
    free, _ = run("gain", before, LENGTHS, gain_db_min=6.0, gain_db_max=12.0, peak=None)
    after, _ = run("gain", before, LENGTHS, gain_db_min=6.0, gain_db_max=12.0)
    limits = np.maximum(1.0, np.abs(before).max(axis=1, keepdims=True))
    np.testing.assert_allclose(after, np.clip(free, -limits, limits), atol=1e-6)
    assert (after != free).any(axis=1).sum() > 100
    softer, _ = run("gain", before, LENGTHS, gain_db_min=-3.0, gain_db_max=-3.0)
    np.testing.assert_allclose(softer, before * 10 ** (-3 / 20), rtol=1e-5)


def test_gains_that_say_nothing_are_refused() -> None:
    refused("gain", "gain_db_min=3.0 is above gain_db_max=1.0", gain_db_min=3.0, gain_db_max=1.0)
    refused("gain", "can have no effect", gain_db_min=0.0, gain_db_max=0.0)


# Shifts


def shifted(row: np.ndarray, length: int, shift: int, fill: str) -> np.ndarray:
    moved = row.copy()
    moved[:length] = np.roll(row[:length], shift)
    if fill == "zero":
        moved[: max(shift, 0)] = 0.0
        moved[length + min(shift, 0) : length] = 0.0
    return moved


@pytest.mark.parametrize("fill", ["zero", "wrap"])
@pytest.mark.parametrize(("unit", "largest"), [("share", 0.05), ("seconds", 0.0025)])
def test_a_shift_moves_the_valid_samples(fill: str, unit: str, largest: float) -> None:
    before = np.random.default_rng(2).normal(size=(SIZE, SAMPLES)).astype("float32")
    after, changed = run("time_shift", before, LENGTHS, fill=fill, unit=unit, largest=largest)
    assert changed.all()
    shares = []
    for old, new, length in zip(before, after, LENGTHS, strict=True):
        most = int(length * largest + 1e-4) if unit == "share" else 40
        fitting = [
            shift
            for shift in (*range(-most, 0), *range(1, most + 1))
            if np.array_equal(new, shifted(old, length, shift, fill))
        ]
        assert len(fitting) == 1
        shares.append(fitting[0] / most)
    assert stats.kstest(shares, stats.uniform(-1, 2).cdf).statistic < 0.1


def test_rows_too_short_for_a_shift_stay() -> None:
    before = np.ones((4, 30), "float32") * np.arange(1, 31, dtype="float32")
    lengths = np.array([0, 1, 9, 30], "int32")
    after, changed = run("time_shift", before, lengths, largest=0.1)
    assert changed.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(after[:3], before[:3])


def test_a_shift_longer_than_a_row_leaves_silence() -> None:
    after, _ = run("time_shift", np.ones((50, 8), "float32"), unit="seconds", largest=5.0)
    # Evenly from 1 to 8 samples, either way.
    assert set((after == 0).sum(axis=1)) == set(range(1, 9))


def test_shifts_that_cannot_be_are_refused() -> None:
    refused("time_shift", "unit: seconds was meant", largest=2.0)
    refused("time_shift", "less than one sample", largest=1e-5, unit="seconds")


# Masks

FRAMES, BINS = 120, 40
FRAME_LENGTHS = np.linspace(20, FRAMES, SIZE).astype("int32")


def spectrograms() -> np.ndarray:
    return np.random.default_rng(4).normal(2.0, 1.0, size=(SIZE, FRAMES, BINS)).astype("float32")


def runs(flags: np.ndarray) -> list[int]:
    """Lengths of the stretches of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return list(edges[1::2] - edges[::2])


@pytest.mark.parametrize("mask_value", ["mean", "zero"])
def test_masks_are_whole_bands_and_spans_of_the_widths_asked_for(mask_value: str) -> None:
    before = spectrograms()
    options = {"frequency_masks": 1, "frequency_width": 8, "time_masks": 1, "time_width": 10, "mask_value": mask_value}
    after, changed = run("spec_augment", before, FRAME_LENGTHS, **options)
    bands, spans = [], []
    for old, new, length, has_changed in zip(before, after, FRAME_LENGTHS, changed, strict=True):
        np.testing.assert_array_equal(new[length:], old[length:])
        masked = (new != old)[:length]
        band, span = masked.all(axis=0), masked.all(axis=1)
        np.testing.assert_array_equal(masked, band[None, :] | span[:, None])
        value = old[:length].astype("float64").mean() if mask_value == "mean" else 0.0
        np.testing.assert_allclose(new[:length][masked], value, atol=1e-4)
        bands += runs(band) or [0]
        spans += runs(span) or [0]
        assert has_changed == masked.any()
    assert len(bands) == len(spans) == SIZE  # never two stretches
    # From 0 to the largest width, each as often: 9 and 11 widths.
    assert stats.chisquare(np.bincount(bands, minlength=9)).pvalue > 0.001
    assert stats.chisquare(np.bincount(spans, minlength=11)).pvalue > 0.001
    assert (len(np.bincount(bands)), len(np.bincount(spans))) == (9, 11)


def test_masks_in_time_stay_below_their_share_of_the_valid_frames() -> None:
    before = spectrograms()
    after, _ = run("spec_augment", before, FRAME_LENGTHS, frequency_masks=0, time_masks=1, time_share=0.2)
    widths = (after != before).all(axis=2).sum(axis=1)
    assert (widths <= 0.2 * FRAME_LENGTHS).all()
    assert (widths / FRAME_LENGTHS).max() > 0.18


def test_each_place_is_masked() -> None:
    before = np.repeat(spectrograms(), 3, axis=0)
    after, _ = run("spec_augment", before, time_masks=0, frequency_width=5)
    assert (after != before).any(axis=(0, 1)).all()
    after, _ = run("spec_augment", before, frequency_masks=0, time_width=5)
    assert (after != before).any(axis=(0, 2)).all()


def test_several_masks_cover_more() -> None:
    before, covered = spectrograms(), []
    for count in (1, 2, 4):
        after, _ = run("spec_augment", before, FRAME_LENGTHS, frequency_masks=count, frequency_width=9, time_masks=0)
        covered.append((after != before).any(axis=1).mean())
    # A mask covers 4.5 of 40 bins; those of several may lie on each other.
    np.testing.assert_allclose(covered, [1 - (1 - 4.5 / 40) ** count for count in (1, 2, 4)], atol=0.025)


def test_masks_that_cover_nothing_or_everything_are_refused() -> None:
    refused("spec_augment", "can have no effect", frequency_masks=0, time_masks=0)
    with pytest.raises(DataError, match="frequency_width=40 can mask all 40 bins"):
        run("spec_augment", spectrograms(), frequency_width=BINS)
