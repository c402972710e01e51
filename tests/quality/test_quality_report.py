"""Running the checks: policies, what is dropped, what fails, and how it is said."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from tfft.console import Console, as_text
from tfft.core.errors import ConfigError, DataError
from tfft.quality.base import Corpus, Detector, Finding, detectors
from tfft.quality.report import check, chosen_policies, default_policies

MakeCorpus = Callable[..., Corpus]
QUIET = Console(quiet=True)
#: Everything but what is asked for.
OFF = dict.fromkeys(detectors.names(), "off")


@pytest.fixture
def faulty(clean: MakeCorpus) -> Corpus:
    """Copies of 0 with its label, of 1 with the other, of 3 in another split; nearly 5; and an e-mail address."""
    corpus = clean()
    texts = list(corpus.texts)
    texts[16], texts[18], texts[13], texts[21] = texts[0], texts[1], texts[3], texts[5] + " zz"
    texts[20] += " ann@example.com"
    return dataclasses.replace(corpus, texts=texts)


def test_clean_data_gives_a_report_without_rows(clean: MakeCorpus) -> None:
    report = check(clean(), {}, QUIET)
    assert report.lines() == []
    assert report.to_drop == {}
    assert report["mojibake"] is None
    shown = str(report)
    assert "data quality, 160 rows" in shown
    assert "min 12, median 12, p95 12, max 12 tokens; none will be truncated" in " ".join(
        shown.replace("│", "").split()
    )
    assert "nothing found: conflicting_labels, exact_duplicates, leakage" in shown


def test_only_leakage_fails_unless_the_user_says_so() -> None:
    defaults = default_policies()
    assert sorted(defaults) == detectors.names()
    assert {name for name, policy in defaults.items() if policy == "fail"} == {"leakage"}
    assert {policy for name, policy in defaults.items() if name != "leakage"} == {"report"}


def test_failure_says_what_how_many_where_and_how_to_go_on(faulty: Corpus) -> None:
    with pytest.raises(DataError) as caught:
        check(dataclasses.replace(faulty, where="reviews.csv"), {}, QUIET)
    assert str(caught.value) == (
        "reviews.csv: leakage: 1 of 160 rows (0.6 %) are in a later split too "
        "(train and validation: 1): row 4. Correct the data, or pass quality={'leakage': 'drop'} "
        "(--quality \"{leakage: drop}\") to leave rows out, or 'report' to go on nevertheless."
    )


def test_every_failing_check_is_told_at_once_and_before_the_others_run(
    faulty: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(*_: object) -> None:
        raise RuntimeError("should not have run")

    for name in set(detectors.names()) - {"leakage", "personal_data", "exact_duplicates"}:
        monkeypatch.setattr(type(detectors.get(name)), "find", find)
    with pytest.raises(DataError) as caught:
        check(faulty, {"personal_data": "fail", "exact_duplicates": "fail"}, QUIET)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "leakage",
        "personal_data",
        "exact_duplicates",
    ]


def test_failing_without_a_drop_offers_none(clean: MakeCorpus) -> None:
    corpus = clean(labels=["rare"] * 3 + ["common"] * 157)
    with pytest.raises(DataError, match=r"class_imbalance: 3 of 160 rows .*: 'rare' 3\. .* or pass 'report' to go on"):
        check(corpus, {"class_imbalance": "fail", "unlikely_labels": "off"}, QUIET)


def test_finding_without_rows_does_not_fail(clean: MakeCorpus) -> None:
    report = check(clean(), {"lengths": "fail", "class_imbalance": "fail"}, QUIET)
    lengths = report["lengths"]
    assert lengths is not None
    assert lengths.details["max"] == 12


def test_only_report_neither_fails_nor_drops(faulty: Corpus) -> None:
    report = check(faulty, {"exact_duplicates": "drop"}, QUIET, only_report=True)
    assert report.to_drop == {}
    assert {result.name: result.policy for result in report.results}["leakage"] == "fail"
    leakage = report["leakage"]
    assert leakage is not None
    assert leakage.positions.tolist() == [3]


def test_every_dropped_row_has_one_reason(faulty: Corpus) -> None:
    policies = {name: "drop" for name in detectors.names() if detectors.get(name).can_drop}
    report = check(faulty, {**policies, "unlikely_labels": "off"}, QUIET)
    assert report.to_drop == {
        1: "conflicting_labels",
        3: "leakage",
        16: "exact_duplicates",
        18: "conflicting_labels",
        20: "personal_data",
        21: "near_duplicates",
    }
    assert sum(len(result.dropped) for result in report.results) == len(report.to_drop)


def test_the_row_that_stays_is_one_that_no_other_check_drops() -> None:
    clean_text = "le café du coin reste ouvert tard le soir pour tous les clients fidèles"
    damaged = clean_text.encode().decode("cp1252")
    corpus = Corpus([damaged, clean_text, clean_text, "something else entirely"], ["x", "x", "x", "y"])
    policies = {**OFF, "mojibake": "drop", "near_duplicates": "drop", "exact_duplicates": "drop"}
    assert check(corpus, policies, QUIET).to_drop == {0: "mojibake", 2: "exact_duplicates"}
    assert check(corpus, {**policies, "mojibake": "report"}, QUIET).to_drop == {
        1: "near_duplicates",
        2: "exact_duplicates",
    }


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ({"near_duplicate": "drop"}, "Unknown data check 'near_duplicate'. Did you mean 'near_duplicates'?"),
        ({"leakage": "dorp"}, "quality of leakage: Unknown policy 'dorp'. Did you mean 'drop'?"),
        ({"class_imbalance": "drop"}, "quality of class_imbalance: leaving rows out does not help"),
        ({"leakage": True}, "quality of leakage: Unknown policy 'True'."),
    ],
)
def test_wrong_policies_are_answered_with_what_there_is(policies: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(Corpus(["a"]), policies, QUIET)
    assert message in str(caught.value)


def test_all_wrong_policies_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        chosen_policies({"nothing": "drop", "leakage": "maybe", "mojibake": "drop"})
    assert len(str(caught.value).splitlines()) == 2


def test_off_as_yaml_reads_it_is_off(faulty: Corpus) -> None:
    assert chosen_policies({"leakage": False})["leakage"] == "off"
    report = check(faulty, {"leakage": False}, QUIET)
    assert report["leakage"] is None
    assert " leakage" not in str(report)


def test_checks_that_cannot_run_say_why() -> None:
    report = check(Corpus(["some text", "another text"]), {}, QUIET)
    assert report.skipped == {
        "class_imbalance": "there are no labels",
        "conflicting_labels": "there are no labels",
        "leakage": "there are no splits",
        "near_leakage": "there are no splits",
        "unlikely_labels": "there are no labels",
    }
    assert "not run: there are no splits" in str(report)
    assert set(check(Corpus([]), {}, QUIET).skipped.values()) == {"there are no rows"}


def test_check_that_would_take_too_long_is_said_once_with_its_limit(
    clean: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(detectors.get("near_duplicates")), "most_rows", 159)
    stream = io.StringIO()
    report = check(clean(where="big.csv"), {}, Console(stream=stream))
    expected = "there are too many rows; it would take too long for more than 159"
    assert report.skipped == {"near_duplicates": expected}
    assert stream.getvalue() == f"big.csv: near_duplicates was not checked: {expected}\n"


def test_log_has_one_line_for_each_finding_with_rows(faulty: Corpus) -> None:
    report = check(faulty, {**OFF, "lengths": "report", "personal_data": "drop", "exact_duplicates": "report"}, QUIET)
    assert report.lines() == [
        "exact_duplicates: 2 of 160 rows (1.2 %) have the same text and label as another, apart from case, width and "
        "white space; 1 beyond the first of each set: row 17",
        "personal_data: 1 of 160 rows (0.6 %) hold personal data (EMAIL 1): row 21; dropped 1",
    ]


def test_plain_data_is_json_and_complete(faulty: Corpus) -> None:
    report = check(faulty, {"leakage": "drop"}, QUIET)
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["rows"] == 160
    assert plain["checks"]["leakage"]["policy"] == "drop"
    assert plain["checks"]["leakage"]["dropped"] == 1
    assert plain["checks"]["leakage"]["details"]["pairs"] == {"train and validation": 1}
    assert set(plain["checks"]) == {result.name for result in report.results}


def test_table_shows_labels_that_look_like_markup(clean: MakeCorpus) -> None:
    corpus = clean(labels=["[bold]"] * 3 + ["[/red]"] * 157)
    shown = as_text(check(corpus, {**OFF, "class_imbalance": "report"}, QUIET).renderables())
    assert "[bold]" in shown
    assert "[/red]" in shown


def test_a_check_of_the_users_own_runs_with_the_others(clean: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shouting(Detector):
        """Finds texts in capitals."""

        def find(self, corpus: Corpus, console: Console) -> Finding | None:
            positions = np.flatnonzero([text.isupper() for text in corpus.texts])
            return Finding(positions, f"{corpus.counted(positions)} shout", {})

    monkeypatch.setattr(detectors, "_items", dict(detectors._items))
    detectors.register("shouting")(Shouting())
    corpus = clean()
    corpus = dataclasses.replace(corpus, texts=[corpus.texts[0].upper(), *corpus.texts[1:]])
    assert check(corpus, {"shouting": "drop"}, QUIET).to_drop == {0: "shouting"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labels": ["x"]}, "1 labels for 2 texts"),
        ({"splits": np.array(["train"])}, "1 splits for 2 texts"),
        ({"token_lengths": np.array([])}, "0 token_lengths for 2 texts"),
        ({"splits": np.array(["train", "tset"])}, "Unknown split 'tset'. Did you mean 'test'?"),
    ],
)
def test_corpus_that_does_not_fit_together_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        Corpus(["a", "b"], **values)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_asking_for_the_defaults_imports_nothing_heavy() -> None:
    heavy = "{'tensorflow', 'sklearn', 'cleanlab', 'ftfy', 'datasketch', 'phonenumbers', 'stdnum'}"
    code = (
        "import sys; from tfft.quality.report import default_policies; default_policies()\n"
        f"print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
