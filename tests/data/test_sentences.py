"""Where texts are cut into sentences."""

from __future__ import annotations

import pytest

from tfft.data.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rains. It pours! Does it?  Yes… no", ["It rains.", "It pours!", "Does it?", "Yes…", "no"]),
        ("one line\ntwo\r\n\n  three \u2028four", ["one line", "two", "three", "four"]),
        ("3.5 of 1,000.00 at example.com", ["3.5 of 1,000.00 at example.com"]),
        ('He said "No." Then (she left!) he did.', ['He said "No."', "Then (she left!)", "he did."]),
        ("What?! Well ... yes.", ["What?!", "Well ...", "yes."]),
        ("雨だ。また雨だ！本当？ はい", ["雨だ。", "また雨だ！", "本当？", "はい"]),  # noqa: RUF001
        ("「雨だ。」と言った。3.5度", ["「雨だ。」", "と言った。", "3.5度"]),
        ("嗎？！是…。好", ["嗎？！", "是…。", "好"]),  # noqa: RUF001
        ("no end", ["no end"]),
        ("", []),
        (" \n\t\n ", []),
        ("...", ["..."]),
        ("lone \ud800 half. Next", ["lone \ud800 half.", "Next"]),
    ],
)
def test_sentences_end_where_they_should(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_nothing_but_white_space_is_lost() -> None:
    text = "".join(a + b + c for a in ".?。 a" for b in '"」\n…b' for c in " !！c)")  # noqa: RUF001
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences(text))


def test_long_rows_of_punctuation_take_no_time() -> None:
    assert len(sentences("." * 50_000 + '"' * 50_000)) == 1
