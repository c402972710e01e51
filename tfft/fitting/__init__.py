"""The flow of a fine-tuning run, from raw data to a trained model; each step can be called alone."""

from tfft.fitting.encoded import tokenize
from tfft.fitting.learning_rate import run_range_test
from tfft.fitting.run import run_fit

__all__ = ["run_range_test", "run_fit", "tokenize"]
