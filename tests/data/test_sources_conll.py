"""CoNLL files: sentences are rows, tokens and tags stay aligned, and what is wrong is named with its line."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data import text_file
from tfft.data.read import Reader, read_table
from tfft.data.sources import conll

Read = Callable[..., pd.DataFrame]
QUIET = Console(quiet=True)

#: Tokens that look like something else, if not like a comment.
AWKWARD = ["\u3000", "\xa0", "\x85", "\u2028", '"', "'", "-", "\x0b", "\x00", "a#b", "-DOC", "O", "1-2", "👍🏽"]
TOKENS = st.sampled_from(AWKWARD) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\r\ufeff"), min_size=1, max_size=5
).filter(lambda token: not token.startswith(("#", "-DOCSTART-")))
WIDTHS = st.integers(2, 4)


def sentences_of(width: int) -> st.SearchStrategy[list[list[list[str]]]]:
    """Returns sentences whose tokens have this many columns."""
    line = st.lists(TOKENS, min_size=width, max_size=width)
    return st.lists(st.lists(line, min_size=1, max_size=5), min_size=1, max_size=5)


def columns_of(sentences: Sequence[Sequence[Sequence[str]]]) -> list[list[list[str]]]:
    """Returns the rows of sentences: a list for each column."""
    return [[list(column) for column in zip(*sentence, strict=True)] for sentence in sentences]


@given(
    sentences=WIDTHS.flatmap(sentences_of),
    separator=st.sampled_from(["\t", " ", "  "]),
    end=st.sampled_from(["\n", "\r\n"]),
    blank=st.sampled_from(["", " ", "\t", "\n"]),
    last=st.sampled_from(["", "\n", "\n\n"]),
    bom=st.booleans(),
    size=st.sampled_from([30, 64, text_file.BLOCK_BYTES]),
)
@settings(max_examples=150, deadline=None)
def test_any_tokens_are_read_back_as_they_were_written(
    folder: Path, sentences: Any, separator: str, end: str, blank: str, last: str, bom: bool, size: int
) -> None:
    blocks = (end.join(separator.join(fields) for fields in sentence) for sentence in sentences)
    content = f"{end}{blank}{end}".join(blocks) + last
    (folder / "any.conll").write_bytes(content.encode("utf-8-sig" if bom else "utf-8"))
    with mock.patch.object(text_file, "BLOCK_BYTES", size), mock.patch.object(conll, "CHUNK_ROWS", 2):
        chunks = list(Reader(folder / "any.conll", None, encoding="utf-8", console=QUIET))
    width = len(sentences[0][0])
    names = ["tokens", *(f"column_{place}" for place in range(1, width - 1)), "tags"]
    assert all(list(chunk.columns) == names for chunk in chunks)
    assert [list(row) for chunk in chunks for row in zip(*chunk.columns.values(), strict=True)] == columns_of(sentences)


@pytest.mark.parametrize("name", ["a.conll", "a.iob", "a.iob2", "a.bio", "a.BIO", "a.conll.gz"])
def test_tokens_and_tags_are_taken_from_the_first_and_last_column(read: Read, folder: Path, name: str) -> None:
    content = (
        b"-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n-DOCSTART- -X- -X- O\nPeter NNP B-NP B-PER"
    )
    (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    frame = read(folder / name, columns=["tags", "tokens", "column_2"])
    assert frame.columns.tolist() == ["tags", "tokens", "column_2"]
    assert frame.to_numpy().tolist() == [
        [["B-ORG", "O"], ["EU", "rejects"], ["B-NP", "B-VP"]],
        [["B-PER"], ["Peter"], ["B-NP"]],
    ]


def test_document_line_ends_a_sentence(read: Read, folder: Path) -> None:
    (folder / "a.conll").write_bytes(b"a O\n-DOCSTART- O\nb O\n")
    assert read(folder / "a.conll", columns=["tokens"])["tokens"].tolist() == [["a"], ["b"]]


UNIVERSAL = """# newdoc id = weblog
# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\tMood=Imp|Number=Plur\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_
3\ta\ta\tADP\t_\t_\t5\tcase\t_\t_
4\tel\tel\tDET\t_\t_\t5\tdet\t_\t_
5\tmar\tmar\tNOUN\t_\t_\t1\tobl\t_\t_

# sent_id = 2
1\t# 1\t#\tSYM\t_\t_\t0\troot\t_\t_
1.1\tleft\tleave\tVERB\t_\t_\t_\t_\t_\t_

"""


def test_universal_files_have_their_ten_columns_and_only_words(read: Read, folder: Path) -> None:
    (folder / "es.conllu").write_text(UNIVERSAL, encoding="utf-8")
    frame = read(folder / "es.conllu", columns=None)
    assert " ".join(frame.columns) == "id form lemma upos xpos feats head deprel deps misc"
    assert frame["form"].tolist() == [["vamos", "nos", "a", "el", "mar"], ["# 1"]]
    assert frame["id"].tolist() == [["1", "2", "3", "4", "5"], ["1"]]
    assert frame["feats"].tolist() == [["Mood=Imp|Number=Plur", "_", "_", "_", "_"], ["_"]]
    short = read(folder / "es.conllu", columns=["tokens", "tags"])
    assert short["tokens"].tolist() == frame["form"].tolist()
    assert short["tags"].tolist() == frame["upos"].tolist() == [["VERB", "PRON", "ADP", "DET", "NOUN"], ["SYM"]]


def test_universal_line_with_other_than_ten_columns_is_refused(read: Read, folder: Path) -> None:
    (folder / "a.conllu").write_text(UNIVERSAL.replace("5\tmar\tmar", "5\tmar"), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"a\.conllu, row 1 \(line 10\): 9 columns, but CoNLL-U has 10, separated by tabs"
    ):
        read(folder / "a.conllu", columns=["form"])


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("# a comment of several words", None),
        ("#begin document (wsj/00)", None),
        ("# id d8b5c8d4\tdomain=en", None),
        ("# sent_id = 1", None),
        ("# text=x y", None),
        ("#", None),
        ("# _ _ O", ["#", "O"]),
        ("#tag _ _ B-X", ["#tag", "B-X"]),
    ],
)
def test_comments_are_told_from_tokens_and_said(
    read: Read, folder: Path, capsys: pytest.CaptureFixture[str], line: str, row: list[str] | None
) -> None:
    path = folder / "comments.conll"
    path.write_text(f"{line}\nthe _ _ O\n\n{line}\nend _ _ O\n")
    frame = read_table(path, ["tokens", "tags"], encoding="utf-8", console=Console()).frame
    said = "comments.conll: 2 lines that begin with # left out as comments"
    assert (said in capsys.readouterr().err) == (row is None)
    begin = [] if row is None else [row]
    assert [list(map(list, zip(*cells, strict=True))) for cells in frame.to_numpy().tolist()] == [
        [*begin, ["the", "O"]],
        [*begin, ["end", "O"]],
    ]


def test_hash_inside_a_sentence_is_a_token(read: Read, folder: Path) -> None:
    (folder / "a.conll").write_bytes(b"we O\n# O\n#1 B-X\n")
    assert read(folder / "a.conll", columns=["tokens"])["tokens"].tolist() == [["we", "#", "#1"]]
    (folder / "a.conll").write_bytes(b"we O\n# a comment\nare O\n")
    with pytest.raises(DataError, match=r"row 1 \(line 2\): 3 columns, but the first token line has 2"):
        read(folder / "a.conll", columns=["tokens"])


@given(before=sentences_of(3), kept=st.integers(0, 3), width=st.sampled_from([1, 2, 4]), tab=st.booleans())
@settings(max_examples=60, deadline=None)
def test_ragged_line_is_named_by_row_and_line(folder: Path, before: Any, kept: int, width: int, tab: bool) -> None:
    separator = "\t" if tab else " "
    good = [[separator.join(fields) for fields in sentence] for sentence in before]
    lines = [line for sentence in good for line in [*sentence, ""]]
    lines += [separator.join("xyz")] * kept + [separator.join("abcd"[:width])]
    (folder / "ragged.conll").write_text("\n".join(lines), encoding="utf-8", newline="")
    place = (
        rf"ragged\.conll, row {len(before) + 1} \(line {len(lines)}\): {width} columns, but the first token line has 3"
    )
    with pytest.raises(DataError, match=place):
        read_table(folder / "ragged.conll", None, encoding="utf-8", console=QUIET)


def test_file_of_tokens_alone_has_no_tags(read: Read, folder: Path) -> None:
    (folder / "a.conll").write_bytes(b"we\nare\n\nhere\n")
    assert read(folder / "a.conll", columns=None).to_numpy().tolist() == [[["we", "are"]], [["here"]]]
    with pytest.raises(DataError, match=r"no column 'tags'.* Its columns: 'tokens'"):
        read(folder / "a.conll", columns=["tokens", "tags"])


def test_tabs_keep_spaces_and_empty_columns(read: Read, folder: Path) -> None:
    (folder / "a.conll").write_bytes(b"New York\tB-LOC\n \tO\n\tO\n")
    assert read(folder / "a.conll", columns=None).to_numpy().tolist() == [[["New York", " ", ""], ["B-LOC", "O", "O"]]]


def test_carriage_return_inside_a_line_is_refused(read: Read, folder: Path) -> None:
    (folder / "mac.conll").write_bytes(b"a O\rb O\r\rc O\r")
    with pytest.raises(DataError, match=r"mac\.conll, row 1 \(line 1\): a carriage return inside the line"):
        read(folder / "mac.conll", columns=None)


def test_undecodable_byte_stays_in_its_token(read: Read, folder: Path) -> None:
    (folder / "a.conll").write_bytes(b"caf\xe9 O\nb B-\xff\n")
    assert read(folder / "a.conll", columns=None).to_numpy().tolist() == [[["caf\udce9", "b"], ["O", "B-\udcff"]]]


@pytest.mark.parametrize("content", [b"\n\n", b"# only a comment\n", b"-DOCSTART- O\n\n", b" \n\t\n"])
def test_file_without_tokens_has_no_rows(read: Read, folder: Path, content: bytes) -> None:
    (folder / "a.conll").write_bytes(content)
    with pytest.raises(DataError, match="has no rows"):
        read(folder / "a.conll", columns=None)


def test_layout_is_found_behind_any_number_of_comments(read: Read, folder: Path) -> None:
    with mock.patch.object(text_file, "BLOCK_BYTES", 64):
        (folder / "a.conll").write_bytes(b"# a comment of many words\n" * 50 + b"a\tb\tO\n")
        assert read(folder / "a.conll", columns=None).to_numpy().tolist() == [[["a"], ["b"], ["O"]]]


def test_file_without_blank_lines_is_refused_before_it_is_in_memory(read: Read, folder: Path) -> None:
    (folder / "a.conll").write_bytes(b"a O\n" * 2000)
    with (
        mock.patch.object(conll, "MOST_TOKENS", 1000),
        pytest.raises(DataError, match=r"row 1 \(line 1001\): more than"),
    ):
        read(folder / "a.conll", columns=None)


def test_cut_off_gzip_file_is_named_with_the_row_reached(read: Read, folder: Path) -> None:
    content = gzip.compress(b"".join(b"token%d O\nx B-%d\n\n" % (row**3, row) for row in range(20_000)))
    (folder / "cut.conll.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.conll\.gz, row (8|9|10|11)\d\d\d: the gzip file ends too early"):
        read(folder / "cut.conll.gz", columns=None)


@given(content=st.binary(max_size=100) | st.text("a #\t\n\rO-=", max_size=60).map(str.encode))
@example(content=b"\r\n \r\n")
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_aligned_rows_or_a_data_error(folder: Path, content: bytes) -> None:
    for name in ("r.conll", "r.conllu"):
        (folder / name).write_bytes(content)
        with contextlib.suppress(DataError):
            frame = read_table(folder / name, None, encoding="utf-8", console=QUIET).frame
            assert len(frame)
            for row in frame.to_numpy().tolist():
                assert len(set(map(len, row))) == 1
                assert all(isinstance(token, str) for cell in row for token in cell)


def test_first_chunk_comes_before_the_rest_is_read(folder: Path) -> None:
    path = folder / "large.conll"
    path.write_bytes((b"some NN B-X\nwords NN O\n" * 20 + b"\n") * 10_000)
    steps: list[int] = []

    @contextlib.contextmanager
    def progress(self: Console, description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        assert (description, total, unit) == ("reading large.conll", path.stat().st_size, "bytes")
        yield steps.append

    with mock.patch.object(Console, "progress", progress), mock.patch.object(conll, "CHUNK_ROWS", 100):
        chunks = iter(Reader(path, None, encoding="utf-8", console=QUIET))
        assert len(next(chunks).columns["tokens"]) == 100
        assert sum(steps) < 3 * text_file.BLOCK_BYTES < path.stat().st_size
        assert sum(len(chunk.columns["tokens"]) for chunk in chunks) == 9_900
        assert sum(steps) == path.stat().st_size
