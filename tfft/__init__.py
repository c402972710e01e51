"""tfft: fine-tuning for TensorFlow and Keras 3, from raw data to a verified TF Serving bundle.

Importing tfft imports neither TensorFlow nor Keras; that happens when work begins.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfft.core.collection import uncollected_imports

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfft.adapted_model import AdaptedModel
    from tfft.api import (
        cross_validate,
        find_learning_rate,
        fit,
        inspect,
        load,
        load_adapter,
        load_adapters,
        peft_report,
        plan,
    )
    from tfft.config import FitConfig
    from tfft.core.errors import (
        ArtifactError,
        ConfigError,
        DataError,
        ExportError,
        PresetError,
        TfftError,
        TrainingError,
    )
    from tfft.evaluation.cross_validation import CrossValidation
    from tfft.finetuned import FineTunedModel
    from tfft.inspection import Inspection
    from tfft.peft.adalora import AdaLoRAConfig
    from tfft.peft.adapter_set import AdapterSet
    from tfft.peft.bitfit import BitFitConfig
    from tfft.peft.dora import DoRAConfig
    from tfft.peft.houlsby import HoulsbyConfig
    from tfft.peft.ia3 import IA3Config
    from tfft.peft.lora import LoRAConfig
    from tfft.peft.partial import PartialConfig
    from tfft.peft.pfeiffer import PfeifferConfig
    from tfft.peft.prefix import PrefixConfig
    from tfft.peft.prompt import PromptConfig
    from tfft.peft.report import PeftReport
    from tfft.planning import RunPlan
    from tfft.tasks._joint import JointPrediction
    from tfft.tasks.masked_language_modeling import FilledText
    from tfft.tasks.multi_label_classification import PredictedLabels
    from tfft.tasks.pair_classification import PairPrediction
    from tfft.tasks.pair_regression import PairScore
    from tfft.tasks.question_answering import PredictedAnswer
    from tfft.tasks.relation_extraction import PredictedRelation
    from tfft.tasks.sentence_similarity import TextSimilarity
    from tfft.tasks.text_classification import Prediction
    from tfft.tasks.text_regression import PredictedNumber
    from tfft.tasks.token_classification import TaggedText
    from tfft.training.learning_rate_finder import LearningRateCurve

#: Public name to the module that defines it.
_PUBLIC = {
    "cross_validate": "tfft.api",
    "find_learning_rate": "tfft.api",
    "fit": "tfft.api",
    "inspect": "tfft.api",
    "load": "tfft.api",
    "load_adapter": "tfft.api",
    "load_adapters": "tfft.api",
    "peft_report": "tfft.api",
    "plan": "tfft.api",
    "AdaptedModel": "tfft.adapted_model",
    "FitConfig": "tfft.config",
    "CrossValidation": "tfft.evaluation.cross_validation",
    "Inspection": "tfft.inspection",
    "FineTunedModel": "tfft.finetuned",
    "AdapterSet": "tfft.peft.adapter_set",
    "AdaLoRAConfig": "tfft.peft.adalora",
    "BitFitConfig": "tfft.peft.bitfit",
    "DoRAConfig": "tfft.peft.dora",
    "HoulsbyConfig": "tfft.peft.houlsby",
    "IA3Config": "tfft.peft.ia3",
    "LoRAConfig": "tfft.peft.lora",
    "PartialConfig": "tfft.peft.partial",
    "PfeifferConfig": "tfft.peft.pfeiffer",
    "PrefixConfig": "tfft.peft.prefix",
    "PromptConfig": "tfft.peft.prompt",
    "PeftReport": "tfft.peft.report",
    "RunPlan": "tfft.planning",
    "LearningRateCurve": "tfft.training.learning_rate_finder",
    "PairPrediction": "tfft.tasks.pair_classification",
    "FilledText": "tfft.tasks.masked_language_modeling",
    "JointPrediction": "tfft.tasks._joint",
    "PairScore": "tfft.tasks.pair_regression",
    "PredictedAnswer": "tfft.tasks.question_answering",
    "PredictedLabels": "tfft.tasks.multi_label_classification",
    "PredictedNumber": "tfft.tasks.text_regression",
    "PredictedRelation": "tfft.tasks.relation_extraction",
    "Prediction": "tfft.tasks.text_classification",
    "TextSimilarity": "tfft.tasks.sentence_similarity",
    "TaggedText": "tfft.tasks.token_classification",
    "ArtifactError": "tfft.core.errors",
    "ConfigError": "tfft.core.errors",
    "DataError": "tfft.core.errors",
    "ExportError": "tfft.core.errors",
    "PresetError": "tfft.core.errors",
    "TfftError": "tfft.core.errors",
    "TrainingError": "tfft.core.errors",
}

__all__ = [
    "AdaLoRAConfig",
    "AdaptedModel",
    "AdapterSet",
    "ArtifactError",
    "BitFitConfig",
    "ConfigError",
    "CrossValidation",
    "DataError",
    "DoRAConfig",
    "ExportError",
    "FilledText",
    "FineTunedModel",
    "FitConfig",
    "HoulsbyConfig",
    "IA3Config",
    "Inspection",
    "JointPrediction",
    "LearningRateCurve",
    "LoRAConfig",
    "PartialConfig",
    "PeftReport",
    "PfeifferConfig",
    "PairPrediction",
    "PairScore",
    "PredictedAnswer",
    "PredictedLabels",
    "PredictedNumber",
    "PredictedRelation",
    "Prediction",
    "TaggedText",
    "PrefixConfig",
    "PresetError",
    "PromptConfig",
    "RunPlan",
    "TextSimilarity",
    "TfftError",
    "TrainingError",
    "__version__",
    "cross_validate",
    "find_learning_rate",
    "fit",
    "inspect",
    "load",
    "load_adapter",
    "load_adapters",
    "peft_report",
    "plan",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tfft' has no attribute {name!r}")
    with uncollected_imports():
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names."""
    return __all__
