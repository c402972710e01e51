"""Runs in the reference environment: models and adapters that Hugging Face saves, and ours, which it loads.

    python run_adapter_files.py make jobs.json folder
    python run_adapter_files.py load folder

`make` writes each model as `folder/<family>`, each of its adapters as `folder/<family>-<case>/theirs`, and the outputs
of all. `load` loads `folder/<family>-<case>/ours` onto the same model, and writes the outputs.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

warnings.filterwarnings("ignore")

import peft  # noqa: E402 -- it warns on import


def outputs(model: Any, inside: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the token vectors of the base inside a model."""
    model = model.base_model.model if isinstance(model, peft.PeftModel) else model
    base = model.eval().get_submodule(inside)
    with torch.no_grad():
        found = base(input_ids=torch.tensor(arrays["ids"]), attention_mask=torch.tensor(arrays["mask"]))
    values: np.ndarray = found.last_hidden_state.numpy()
    return values


def spread(parameters: Any, seed: int) -> None:
    """Gives parameters other values, large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def load(folder: Path, family: dict[str, Any]) -> Any:
    return getattr(transformers, family["model"]).from_pretrained(folder / family["name"])


def make(folder: Path, job: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for family in job["families"]:
        config = getattr(transformers, family["config"])(**family["options"])
        model = getattr(transformers, family["model"])(config)
        spread([item for name, item in model.named_parameters() if "token_type" not in name], 1)
        if config.model_type.endswith("roberta"):
            model.roberta.embeddings.token_type_embeddings.weight.data.zero_()
        model.save_pretrained(folder / family["name"])
        found[family["name"]] = outputs(model, family["inside"], arrays)
        for case, options in family["cases"].items():
            adapted = peft.get_peft_model(load(folder, family), peft.LoraConfig(**options))
            spread([item for item in adapted.parameters() if item.requires_grad], 2)
            name = f"{family['name']}-{case}"
            adapted.save_pretrained(folder / name / "theirs")
            found[name] = outputs(adapted, family["inside"], arrays)
    return found


def load_all(folder: Path, job: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for family in job["families"]:
        for case in family["cases"]:
            name = f"{family['name']}-{case}"
            if (folder / name / "ours").exists():
                with warnings.catch_warnings():
                    # PEFT warns of weights that a file lacks.
                    warnings.filterwarnings("error", message=".*missing adapter keys.*")
                    adapted = peft.PeftModel.from_pretrained(load(folder, family), folder / name / "ours")
                found[name] = outputs(adapted, family["inside"], arrays)
    return found


if __name__ == "__main__":
    task, where = sys.argv[1], Path(sys.argv[2])
    told = json.loads((where / "job.json").read_text())
    given = dict(np.load(where / "batch.npz"))
    results: dict[str, Any] = {"make": make, "load": load_all}[task](where, told, given)
    np.savez(where / f"{task}.npz", **results)
