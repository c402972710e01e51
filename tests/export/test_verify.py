"""What the comparison of an export with `predict` catches, and what its worker may import."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfft.core.errors import ExportError
from tfft.export import _verify, _verify_worker
from tfft.export.base import Exportable

Answers = dict[str, list[dict[str, Any]]]


@pytest.fixture
def right(exportable: Exportable) -> Answers:
    """Answers of both loaders that agree with `predict`."""
    expected = exportable.expected([*exportable.held_out, *_verify._UNPLEASANT])
    plain = {name: values.tolist() for name, values in expected.items()}
    halves = [{name: values[part] for name, values in plain.items()} for part in (slice(9), slice(9, None))]
    return {"tf.saved_model.load": [plain], "session loader": copy.deepcopy(halves)}


def verified(exportable: Exportable, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(_verify, "_answers", lambda *_: answers)
    return _verify.verify(Path("unused"), exportable)


def nudge(answer: dict[str, Any]) -> None:
    answer["probabilities"][0][0] += 2e-4


def spoil(answer: dict[str, Any]) -> None:
    answer["probabilities"][3][1] = float("nan")


def relabel(answer: dict[str, Any]) -> None:
    answer["label"][-1] = "good" if answer["label"][-1] == "bad" else "bad"


def swap_classes(answer: dict[str, Any]) -> None:
    answer["classes"][2].reverse()


def lose_a_row(answer: dict[str, Any]) -> None:
    answer["probabilities"].pop()


def lose_an_output(answer: dict[str, Any]) -> None:
    del answer["classes"]


def add_an_output(answer: dict[str, Any]) -> None:
    answer["logits"] = answer["probabilities"]


def test_equal_answers_pass(exportable: Exportable, right: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verified(exportable, right, monkeypatch) < 1e-7


@pytest.mark.parametrize("loader", ["tf.saved_model.load", "session loader"])
@pytest.mark.parametrize(
    "damage",
    [nudge, spoil, relabel, swap_classes, lose_a_row, lose_an_output, add_an_output],
    ids=lambda it: it.__name__,
)
def test_any_difference_of_either_loader_is_an_error(
    exportable: Exportable,
    right: Answers,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[dict[str, Any]], None],
    loader: str,
) -> None:
    damage(right[loader][0])
    with pytest.raises(ExportError, match=loader):
        verified(exportable, right, monkeypatch)


def test_rounding_below_the_tolerance_passes(
    exportable: Exportable, right: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = right["session loader"][1]
    part["probabilities"] = (np.array(part["probabilities"]) + 5e-5).tolist()
    assert verified(exportable, right, monkeypatch) == pytest.approx(5e-5, rel=1e-2)


def test_lists_as_long_as_the_longest_of_a_request_are_filled_up() -> None:
    parts = [np.array([["a"], ["b"]], dtype=object), np.array([["c", "d"]], dtype=object)]
    assert _verify._joined(parts).tolist() == [["a", ""], ["b", ""], ["c", "d"]]
    numbers = [np.zeros((2, 0), np.float32), np.array([[0.5]], np.float32)]
    assert _verify._joined(numbers).tolist() == [[0.0], [0.0], [0.5]]


def test_the_worker_imports_nothing_a_server_lacks() -> None:
    tree = ast.parse(Path(_verify_worker.__file__).read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} == {
        "__future__",
        "json",
        "numpy",
        "pathlib",
        "sys",
        "tensorflow",
        "tensorflow_text",
        "typing",
    }
