"""TF_CONFIG is understood, and what is wrong with it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tfft.core.errors import ConfigError
from tfft.distribute.cluster import read_cluster
from tfft.distribute.plan import resolve

TWO = {"worker": ["a:1", "b:2"]}


def set_config(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize("value", ["", "  ", "{}", '{"cluster": {}}', '{"task": {"type": "worker", "index": 0}}'])
def test_no_cluster_is_none(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    set_config(monkeypatch, value)
    assert read_cluster() is None


@pytest.mark.parametrize(
    ("cluster", "task", "workers", "worker"),
    [
        (TWO, {"type": "worker", "index": 1}, 2, 1),
        (TWO, {"type": "worker", "index": "1"}, 2, 1),
        ({"chief": ["c:0"], **TWO}, {"type": "chief", "index": 0}, 3, 0),
        ({"chief": ["c:0"], **TWO}, {"type": "worker", "index": 1}, 3, 2),
    ],
)
def test_the_part_of_this_process(
    monkeypatch: pytest.MonkeyPatch, cluster: Any, task: Any, workers: int, worker: int
) -> None:
    set_config(monkeypatch, {"cluster": cluster, "task": task})
    found = read_cluster()
    assert found is not None
    assert (found.num_workers, found.worker) == (workers, worker)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ({"cluster": [1], "task": {"type": "worker", "index": 0}}, "not an object"),
        ({"cluster": {"boss": ["a:1"]}, "task": {"type": "boss"}}, "names the job 'boss'"),
        ({"cluster": {"worker": "a:1"}, "task": {"type": "worker"}}, "no list of"),
        ({"cluster": {"worker": ["a"]}, "task": {"type": "worker"}}, "no list of"),
        ({"cluster": TWO}, 'no "task"'),
        ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, "only worker"),
        ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, "has 2 of the kind"),
        ({"cluster": TWO, "task": {"type": "worker", "index": "x"}}, "no number"),
    ],
)
def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch, value: Any, words: str) -> None:
    set_config(monkeypatch, value)
    with pytest.raises(ConfigError, match=words) as caught:
        resolve()
    assert "\n" not in str(caught.value)
    assert "host1:12345" in str(caught.value)


def test_several_workers_have_to_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something ran on TensorFlow before: TensorFlow then refuses to set up its part."""
    import tensorflow as tf

    tf.constant(1)
    set_config(
        monkeypatch, {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    )
    with pytest.raises(ConfigError, match="before anything else runs on TensorFlow"):
        resolve()


def test_names_that_contradict_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    set_config(monkeypatch, {"cluster": TWO, "task": {"type": "worker", "index": 0}})
    with pytest.raises(ConfigError, match="TF_CONFIG names 2 workers"):
        resolve(strategy="mirrored")
    assert "train apart" in resolve(strategy="one_device").lines()[0]
    set_config(monkeypatch, {"cluster": {**TWO, "evaluator": ["e:1"]}, "task": {"type": "evaluator", "index": 0}})
    with pytest.raises(ConfigError, match="of the kind 'evaluator'"):
        resolve()
