"""The SavedModel: its versions, its signature, its padding, and what its verification catches."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfft
from tfft.console import Console
from tfft.core.errors import ArtifactError, ExportError
from tfft.export import saved_model
from tfft.export._verify import verify
from tfft.export.base import Exportable
from tfft.tasks.text_classification import TextClassification

TEXTS = ["the film was wonderful", "", "a dull plot, naïve café 🙂", "the script was silly " * 9]
#: What TF Serving does, less the network: it knows nothing of tfft or KerasHub.
CONSUMER = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
    signature = loaded.signature_def["serving_default"]
    texts = np.array([text.encode() for text in json.loads(sys.argv[2])], dtype=object)
    fetches = {name: output.name for name, output in signature.outputs.items()}
    found = session.run(fetches, {signature.inputs["text"].name: texts})
assert not {"tfft", "keras_hub"} & set(sys.modules)
labels = [item.decode() for item in found["label"]]
print(json.dumps({"label": labels, "probabilities": found["probabilities"].tolist()}))
"""


@pytest.fixture(scope="module")
def exported(exportable: Exportable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel, not verified here."""
    folder = tmp_path_factory.mktemp("exports") / "1"
    module = saved_model.ServingModule(
        exportable.model,
        exportable.encoding,
        lambda outputs, context: exportable.task.serve(outputs, context, exportable.learned),
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports that write one small file and verify nothing, for what happens around them."""
    monkeypatch.setattr(saved_model, "verify", lambda *_: 0.0)
    monkeypatch.setattr(tf.saved_model, "save", lambda _, folder, **__: Path(folder, "saved_model.pb").touch())


def export(exportable: Exportable, directory: Path) -> Path:
    return saved_model.SavedModelExporter().export(exportable, directory, Console(quiet=True))


def leftovers(folder: Path) -> list[Path]:
    """Everything below a folder but the empty base directory of the model."""
    return [path for path in folder.rglob("*") if path != folder / "models"]


@pytest.mark.usefixtures("quick")
def test_versions_count_up_and_are_never_overwritten(exportable: Exportable, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        version = export(exportable, tmp_path)
        (version / "mark").write_text(str(number), "utf-8")
    assert {path.name: (path / "mark").read_text("utf-8") for path in tmp_path.iterdir()} == {
        "1": "1",
        "2": "2",
        "3": "3",
    }


@pytest.mark.usefixtures("quick")
def test_the_next_version_after_a_gap_is_one_above_the_highest(exportable: Exportable, tmp_path: Path) -> None:
    for name in ("1", "9", "10", "notes", "v99", "².txt", "²", "-50", "3.5"):
        (tmp_path / name).mkdir()
    assert export(exportable, tmp_path) == tmp_path / "11"


@pytest.mark.usefixtures("quick")
def test_a_version_taken_in_the_last_moment_is_left_alone(
    exportable: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_export_is_faster(*_: Any) -> float:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "theirs").touch()
        return 0.0

    monkeypatch.setattr(saved_model, "verify", another_export_is_faster)
    assert export(exportable, tmp_path) == tmp_path / "2"
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["theirs"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "no space"), ExportError),
        (OSError(28, "No space left on device"), ArtifactError),
    ],
)
def test_a_failed_write_leaves_nothing(
    exportable: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, raised: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(raised):
        export(exportable, tmp_path)
    assert leftovers(tmp_path) == []


def test_the_signature_has_names_types_and_shapes_as_documented(exported: Path) -> None:
    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    assert {name: spec.dtype for name, spec in signature.structured_input_signature[1].items()} == {"text": tf.string}
    answer = signature(text=tf.constant(TEXTS))
    assert {name: (value.dtype, tuple(value.shape)) for name, value in answer.items()} == {
        "label": (tf.string, (4,)),
        "probabilities": (tf.float32, (4, 2)),
        "classes": (tf.string, (4, 2)),
    }
    assert answer["classes"].numpy().tolist() == [[b"bad", b"good"]] * 4
    assert signature(text=tf.constant(["one"]))["label"].shape == (1,)


def test_a_session_in_another_process_answers_as_predict(exported: Path, trained: tfft.FineTunedModel) -> None:
    command = [sys.executable, "-c", CONSUMER, str(exported), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    predictions = trained.predict(TEXTS)
    assert answer["label"] == [prediction.label for prediction in predictions]
    wanted = [list(prediction.probabilities.values()) for prediction in predictions]
    np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-5)
    assert np.ptp(np.array(wanted)[:, 0]) > 0.05, "the texts must be told apart"


def test_a_batch_is_padded_to_its_longest_row(exportable: Exportable) -> None:
    """The model is replaced by one that answers with the width of its input."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "padding_mask")}
    width = keras.layers.Lambda(lambda ids: keras.ops.sum(keras.ops.ones_like(ids), axis=1))(inputs["token_ids"])
    module = saved_model.ServingModule(
        keras.Model(inputs, width), exportable.encoding, lambda outputs, context: {"width": outputs}
    )

    def widths(texts: Sequence[str]) -> list[int]:
        return module.serve(tf.constant(texts, tf.string))["width"].numpy().tolist()

    assert widths([]) == []
    assert widths(["the film"]) == [4]
    assert widths(["", "the film was dull", "the"]) == [6, 6, 6]
    assert widths(["the film " * 50, "the"]) == [24, 24]


@pytest.mark.usefixtures("in_this_process")
def test_held_out_texts_may_hold_broken_unicode(
    exported: Path, with_held_out: Callable[[Sequence[str]], Exportable]
) -> None:
    assert verify(exported, with_held_out(["half a pair: \ud83d", "nul\x00byte"])) < 1e-5


@pytest.mark.usefixtures("in_this_process")
def test_an_export_that_differs_is_refused_and_removed(
    trained: tfft.FineTunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = TextClassification.serve

    def perturbed(self: TextClassification, outputs: tf.Tensor, context: Any, learned: Any) -> dict[str, tf.Tensor]:
        answer = serve(self, outputs, context, learned)
        return {**answer, "probabilities": answer["probabilities"] + 1e-3}

    monkeypatch.setattr(TextClassification, "serve", perturbed)
    with pytest.raises(ExportError, match=r"probabilities differs from predict by 1\.0e-03"):
        trained.export(tmp_path / "models")
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("in_this_process")
def test_variables_that_a_server_would_not_find_are_noticed(
    trained: tfft.FineTunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that leaves the tracking to Keras loads in Python, but not in the loader of TF Serving."""

    class Careless(saved_model.ServingModule):
        def __init__(self, model: keras.Model, *args: Any) -> None:
            super().__init__(model, *args)
            self.model = model

        def __setattr__(self, name: str, value: Any) -> None:
            if name != "tf_variables":
                super().__setattr__(name, value)

    monkeypatch.setattr(saved_model, "ServingModule", Careless)
    with pytest.raises(ExportError, match="does not load in a fresh process"):
        trained.export(tmp_path / "models")
    assert leftovers(tmp_path) == []
