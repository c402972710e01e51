"""Runs in the reference environment: Hugging Face PEFT on a tiny BERT, from arrays to arrays.

    python run_hugging_face.py job.json arrays.npz results.npz

`job.json` has "model" (options of `BertConfig`) and "peft" (options of a PEFT config, with "peft_type"). `arrays.npz`
has the model's state as "base/...", `ids`, `mask` and `probe`, and values of parameters of the adapter as
"adapter/...". The results are the output of the model, the loss `sum(output * probe)`, and its gradients by the trained
parameters, as "gradient/...". With `steps` in the job, AdaLoRA's rank allocation is run instead, on given gradients
"step/<number>/gradient/..." and changes of the parameters "step/<number>/value/...".
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import torch
import transformers

warnings.filterwarnings("ignore")

import peft  # noqa: E402 -- it warns on import


def adapted(job: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """Makes the model with the adapter, and sets the weights of both."""
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**job["model"]), add_pooling_layer=False)
    state = {name.removeprefix("base/"): torch.tensor(value) for name, value in of(arrays, "base/").items()}
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys, result.unexpected_keys
    assert all("position_ids" in name for name in result.missing_keys), result.missing_keys
    adapter = peft.get_peft_model(model, peft.get_peft_config(job["peft"]))
    named = dict(adapter.named_parameters())
    with torch.no_grad():
        for name, value in of(arrays, "adapter/").items():
            named[name.removeprefix("adapter/")].copy_(torch.tensor(value))
    return adapter.eval()


def of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name: value for name, value in arrays.items() if name.startswith(prefix)}


def trained(model: Any) -> dict[str, Any]:
    return {name: item for name, item in model.named_parameters() if item.requires_grad}


def forward_backward(model: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs = model(
        input_ids=torch.tensor(arrays["ids"]).long(), attention_mask=torch.tensor(arrays["mask"]).long()
    ).last_hidden_state[:, -arrays["probe"].shape[1] :]  # without what is put before the text
    loss = (outputs * torch.tensor(arrays["probe"])).sum()
    loss.backward()
    found = {"output": outputs.detach().numpy(), "loss": loss.detach().numpy()}
    for name, item in trained(model).items():
        if item.grad is not None:
            found[f"gradient/{name}"] = item.grad.numpy()
    return found


def penalty(model: Any) -> dict[str, np.ndarray]:
    """Returns the gradients of AdaLoRA's penalty, which its model adds to the loss that a model returns."""

    class Loss(dict):  # type: ignore[type-arg]
        """Stands for the outputs of a model with a loss."""

        loss = torch.zeros(())

    inner = model.base_model
    outputs = Loss()
    inner.model.forward = lambda *_, **__: outputs
    inner.forward()
    outputs.loss.backward()
    return {f"penalty/{name}": item.grad.numpy() for name, item in trained(model).items() if item.grad is not None}


def allocate(model: Any, job: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sets values and gradients step by step, and lets AdaLoRA share out the ranks."""
    found = {}
    named = trained(model)
    allocator = model.base_model.rankallocator
    for number in range(1, job["steps"] + 1):
        with torch.no_grad():
            for name, item in named.items():
                if f"step/{number}/value/{name}" in arrays:
                    item.add_(torch.tensor(arrays[f"step/{number}/value/{name}"]))
                item.grad = torch.tensor(arrays[f"step/{number}/gradient/{name}"])
        model.base_model.update_and_allocate(number)
        for name, item in named.items():
            if "lora_E" in name:
                found[f"step/{number}/{name}"] = item.detach().numpy().copy()
        if allocator.exp_avg_ipt:
            for name, value in allocator.exp_avg_ipt.items():
                found[f"step/{number}/sensitivity/{name}"] = value.numpy().copy()
                found[f"step/{number}/uncertainty/{name}"] = allocator.exp_avg_unc[name].numpy().copy()
    return found


def main() -> None:
    job_file, arrays_file, results_file = sys.argv[1:]
    with open(job_file) as file:
        job = json.load(file)
    arrays = dict(np.load(arrays_file))
    model = adapted(job, arrays)
    if "steps" in job:
        found = allocate(model, job, arrays)
    else:
        found = forward_backward(model, arrays)
        if job.get("penalty"):
            model.zero_grad()
            found |= penalty(model)
    np.savez(results_file, **found)


if __name__ == "__main__":
    main()
