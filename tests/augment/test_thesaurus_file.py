"""A thesaurus in each format gives the same words; what is no thesaurus is refused with its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.augment._thesaurus_file import read_thesaurus
from tfft.core.errors import ConfigError

ENTRIES = {"film": ["movie", "picture"], "e-mail": ["mail, electronic", 'a "letter"'], "été": ["saison"]}

WORD = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml", ".csv", ".tsv", ".JSON"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_each_format_gives_the_same_words(suffix: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / f"words{suffix}"
    texts = {
        ".json": json.dumps(ENTRIES),
        ".yaml": yaml.safe_dump(ENTRIES, allow_unicode=True),
        ".csv": 'film,movie,picture\n\n"e-mail","mail, electronic","a ""letter"""\nété,saison\n',
        ".tsv": 'film\tmovie\tpicture\ne-mail\tmail, electronic\t"a ""letter"""\n\nété\tsaison\n',
    }
    path.write_text(texts[suffix.lower().replace("yml", "yaml")], encoding)
    assert read_thesaurus(str(path)) == ENTRIES
    assert read_thesaurus(path) == ENTRIES


def test_a_mapping_may_have_one_word_for_a_list() -> None:
    assert read_thesaurus({"film": "movie", " big ": ("large", " huge ")}) == {
        "film": ["movie"],
        "big": ["large", "huge"],
    }


def test_a_word_on_several_lines_has_the_synonyms_of_all(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("film,movie\nbig,large\nfilm,picture\n")
    assert read_thesaurus(str(tmp_path / "words.csv")) == {"film": ["movie", "picture"], "big": ["large"]}


@settings(max_examples=60, deadline=None)
@given(entries=st.dictionaries(WORD, st.lists(WORD, min_size=1, max_size=3), min_size=1, max_size=4))
def test_any_words_survive_json_and_yaml(entries: dict[str, list[str]], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("thesaurus")
    (folder / "a.json").write_text(json.dumps(entries), "utf-8")
    (folder / "a.yaml").write_text(yaml.safe_dump(entries), "utf-8")
    assert read_thesaurus(str(folder / "a.json")) == entries
    assert read_thesaurus(str(folder / "a.yaml")) == entries


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"film,movie", r"a\.txt has none of the endings.*\.json, \.yaml"),
        ("a.json", b"{", r"a\.json is not valid"),
        ("a.json", b"\xff\xfe", r"a\.json is not valid"),
        ("a.yaml", b"a: [", r"a\.yaml is not valid"),
        ("a.csv", b'film,"movie', r"a\.csv is not valid"),
        ("a.json", b"[1]", r"should map words to lists of words; it is a list"),
        ("a.yaml", b"no: [never]\nfilm: [movie]\n", r"1 entries .*for instance False.*Quote words"),
        ("a.json", b'{"film": []}', r"1 entries .*for instance 'film'"),
        ("a.json", b'{"film": [3]}', r"1 entries .*for instance 'film'"),
        ("a.csv", b"film\n", r"1 entries .*for instance 'film'"),
        ("a.json", b"{}", r"is empty"),
        ("a.csv", b"", r"is empty"),
    ],
)
def test_what_is_no_thesaurus_is_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_thesaurus(str(tmp_path / name))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.json cannot be read: No such file"):
        read_thesaurus(str(tmp_path / "missing.json"))
