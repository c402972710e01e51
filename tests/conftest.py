"""Fixtures: a tiny random backbone for fast tests, and quiet consoles."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
import pytest

from tfft.console import Console

WORDS = (
    "the a film plot cast music ending script was is "
    "wonderful moving funny brilliant charming dull awful boring weak silly"
)


#: Files that take minutes: begun last, one test process would work on them while the other has nothing to do.
LONG_FILES = (
    "test_documents.py",
    "test_notebooks.py",
    "test_command_line.py",
    "test_every_option_matters.py",
    "test_architectures.py",
    "test_peft_contract.py",
    "test_task_contract.py",
    "test_mirrored.py",
    "test_peft_runs.py",
    "test_data_options.py",
    "test_joint_tasks.py",
    "test_exact_resume.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that take longest; the order within each stays."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Names bytes by their length: compressed ones hold the time, and test processes must agree on names."""
    return f"{argname}-of-{len(val)}" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A KerasHub preset directory: a BERT of 2 layers and 16 dimensions with random weights (fixed by a seed)."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(11)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), "##s", "cafe"]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True, strip_accents=True)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=24,
    )
    directory = tmp_path_factory.mktemp("presets") / "tiny_bert"
    backbone.save_to_preset(str(directory))
    tokenizer.save_to_preset(str(directory))
    return str(directory)


@pytest.fixture(scope="session")
def opinions() -> pd.DataFrame:
    """Sixty short film opinions with two labels, which the tiny backbone's vocabulary covers."""
    from tfft.tasks.text_classification import TextClassification

    return TextClassification().sample_data()


@pytest.fixture
def quiet() -> Console:
    """A console that says nothing."""
    return Console(quiet=True)


@pytest.fixture
def project() -> Path:
    """The root of the source tree."""
    return Path(__file__).parents[1]
