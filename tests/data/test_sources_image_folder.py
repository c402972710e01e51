"""Folders of images: the folder is the label, the order is that of the names, and broken files are named."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.read import find_source, read_table
from tfft.data.sources import image_folder
from tfft.data.sources.base import sources

Read = Callable[..., pd.DataFrame]


def png() -> bytes:
    """Returns a grey picture of one pixel."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0\x80")) + part(b"IEND", b"")


PNG = png()
JPEG = b"\xff\xd8\xff\xe0" + bytes(40) + b"\xff\xd9"
GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
BMP = b"BM" + struct.pack("<IHHIIIIHH", 58, 0, 0, 54, 40, 1, 1, 1, 24) + bytes(28)
WEBP = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8 " + bytes(22)
KINDS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".gif": GIF, ".bmp": BMP, ".webp": WEBP}


def write(root: Path, *names: str, content: bytes = PNG) -> Path:
    """Writes files with the same content and returns the folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def rows(root: Path, columns: list[str] | None = None, console: Console | None = None) -> list[list[Any]]:
    """Returns the rows of a folder, paths relative to it."""
    frame = read_table(root, columns, encoding="utf-8", console=console or Console(quiet=True)).frame
    if "image" in frame:
        frame["image"] = [os.path.relpath(path, root) for path in frame["image"]]
    return frame.to_numpy().tolist()


def test_folder_is_the_label_and_rows_are_sorted_by_path(tmp_path: Path) -> None:
    write(tmp_path, "dog/b.png", "cat/2.png", "cat/10.png", "Ant/x.png", "dog/a/z.png", "dog/a.png")
    expected = [
        ["Ant/x.png", "Ant"],
        ["cat/10.png", "cat"],
        ["cat/2.png", "cat"],
        ["dog/a/z.png", "dog"],
        ["dog/a.png", "dog"],
        ["dog/b.png", "dog"],
    ]
    assert rows(tmp_path) == rows(tmp_path) == expected
    assert rows(tmp_path, ["label"]) == [[label] for _, label in expected]


@pytest.mark.parametrize("ending", KINDS)
def test_every_kind_of_image_is_taken_whatever_the_case_of_its_ending(tmp_path: Path, ending: str) -> None:
    write(tmp_path, f"a/1{ending}", f"b/2{ending.upper()}", content=KINDS[ending])
    assert [label for _, label in rows(tmp_path)] == ["a", "b"]


def test_image_of_another_kind_than_its_ending_is_still_an_image(tmp_path: Path) -> None:
    write(tmp_path, "a/1.jpg", "b/1.jpg")
    assert len(rows(tmp_path)) == 2


@pytest.mark.parametrize("validation", ["validation", "val", "Valid"])
def test_folders_of_splits_become_a_column(tmp_path: Path, validation: str) -> None:
    write(tmp_path, "train/cat/1.png", "train/dog/2.png", f"{validation}/cat/3.png", "test/dog/4.png")
    frame = read_table(tmp_path, None, encoding="utf-8", console=Console(quiet=True)).frame
    found = {tuple(row) for row in frame[["label", "split"]].to_numpy().tolist()}
    assert found == {("cat", "train"), ("dog", "train"), ("cat", "validation"), ("dog", "test")}
    assert rows(tmp_path, ["split"])[-1] == [frame["split"].iloc[-1]]


def test_class_that_is_called_like_a_split_is_a_class(tmp_path: Path) -> None:
    write(tmp_path, "train/1.png", "bus/2.png")
    assert rows(tmp_path) == [["bus/2.png", "bus"], ["train/1.png", "train"]]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1.png", "2.png"], "2 of the 2 images of .* are in no class folder, .* the first: .*1.png. Put them in one"),
        (["1.png", "cat/2.png"], "1 of the 2 images of .* are in no class folder"),
        (["train/1.png", "test/2.png"], "test is the folder of a split, but .*2.png is in no folder of a class"),
        (["train/cat/1.png", "misc/2.png"], "has train, the folder of a split, beside misc, which is none"),
        (["val/a/1.png", "valid/b/2.png", "train/a/3.png"], "several folders for one split: train, val, valid"),
        (
            ["images/cat/1.png", "images/dog/2.png"],
            "in folders inside images, .* Pass .*/images if those are the classes",
        ),
    ],
)
def test_folder_without_clear_labels_is_explained(tmp_path: Path, names: list[str], words: str) -> None:
    write(tmp_path, *names)
    with pytest.raises(DataError, match=words):
        rows(tmp_path)
    with pytest.raises(DataError, match=words):
        rows(tmp_path, ["image", "label"])
    assert len(rows(tmp_path, ["image"])) == len(names)


def test_folder_without_images_names_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"holds neither images \(\.png, .*\) nor .*\.mp3\)\. It holds no files\. To read tables, pass"
    ):
        rows(tmp_path)
    write(tmp_path, "a.csv", "b.csv", "notes/c.txt", "notes/README")
    with pytest.raises(
        DataError, match=r"files that end in: 2 \.csv, 1 without an ending, 1 \.txt\. .* pattern such as '.*/\*\.csv'"
    ):
        rows(tmp_path)


def test_other_files_are_counted_and_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, *(f"cat/{number}.png" for number in range(20)), "cat/a.txt", "cat/b.txt", "readme.md")
    assert len(rows(tmp_path, console=Console())) == 20
    said = capsys.readouterr().err.replace("\n", " ")
    assert said.count("are left out") == 1
    assert "are left out: 2 .txt, 1 .md" in said


def test_hidden_files_and_folders_are_left_out_silently(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "cat/1.png", "cat/.2.png", ".git/3.png", "cat/.DS_Store", "dog/.cache/4.png", "dog/5.png")
    assert rows(tmp_path, console=Console()) == [["cat/1.png", "cat"], ["dog/5.png", "dog"]]
    assert "left out" not in capsys.readouterr().err


def test_images_and_recordings_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "a/2.wav", "b/3.mp3")
    with pytest.raises(DataError, match=r"holds 1 images, but also files that end in \.mp3, \.wav"):
        rows(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"<html>not found</html> and more", "no image"),
        (PNG[:20], "cut off"),
        (PNG[:-1], "cut off"),
        (JPEG[:-1], "cut off"),
        (BMP[:-1], "cut off"),
        (WEBP[:-1], "cut off"),
        (b"RIFF" + struct.pack("<I", 30) + b"WAVEfmt " + bytes(22), "no image"),
        (bytes(100), "no image"),
    ],
)
def test_broken_images_are_counted_and_the_first_named(tmp_path: Path, content: bytes, problem: str) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png")
    write(tmp_path, *(f"cat/bad{number}.png" for number in range(7)), content=content)
    with pytest.raises(DataError) as caught:
        rows(tmp_path)
    assert f"7 of 9 images cannot be used: {tmp_path}/cat/bad0.png ({problem}), " in str(caught.value)
    assert f"bad4.png ({problem}) and 2 more. Copy them again, or delete them." in str(caught.value)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".webp", ".gif"])
@pytest.mark.parametrize("more", [b"\0" * 5000, b"junk", b"\xff" * 100_000])
def test_what_programs_write_behind_an_image_is_no_damage(tmp_path: Path, kind: str, more: bytes) -> None:
    write(tmp_path, f"a/1{kind}", f"b/1{kind}", content=KINDS[kind] + more)
    assert len(rows(tmp_path)) == 2


@given(content=st.binary(max_size=60), start=st.sampled_from([b"", *{value[:8] for value in KINDS.values()}]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_image_or_have_a_problem(content: bytes, start: bytes) -> None:
    whole = start + content
    problem = image_folder.image_problem(io.BytesIO(whole), len(whole))
    assert problem in {"", "no image", "cut off"}
    if not start and not content.startswith((b"BM", b"GIF8", b"RIFF", b"\xff\xd8\xff", b"\x89PNG")):
        assert problem == "no image"


def test_links_are_followed_and_rings_of_links_refused(tmp_path: Path) -> None:
    write(tmp_path / "store", "1.png")
    write(tmp_path / "set", "cat/2.png")
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "cat" / "3.png").symlink_to(tmp_path / "store" / "1.png")
    assert rows(tmp_path / "set") == [["cat/2.png", "cat"], ["cat/3.png", "cat"], ["dog/1.png", "dog"]]
    (tmp_path / "store" / "again").symlink_to(tmp_path / "set")
    with pytest.raises(DataError, match="is a link to a folder that holds it"):
        rows(tmp_path / "set")


def test_links_to_nothing_and_pipes_are_broken_images(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "cat" / "2.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(tmp_path / "dog" / "3.png")
    with pytest.raises(DataError) as caught:
        rows(tmp_path)
    assert "2 of 4 images cannot be used" in str(caught.value)
    assert "2.png (cannot be opened: No such file or directory)" in str(caught.value)
    assert "3.png (no file)" in str(caught.value)


def test_names_that_are_no_text_can_be_said(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png")
    with contextlib.suppress(OSError):  # some file systems take no such names
        (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
        (tmp_path / os.fsdecode(b"caf\xe9") / "2.png").write_bytes(b"")
        with pytest.raises(DataError) as caught:
            rows(tmp_path)
        assert "caf\\udce9/2.png (empty)" in str(caught.value).encode().decode()


def test_what_a_folder_is_is_told_by_names_alone(tmp_path: Path) -> None:
    images = write(tmp_path / "images", "a/1.png", content=b"")
    recordings = write(tmp_path / "recordings", "a/1.WAV", content=b"")
    tables = write(tmp_path / "tables", "a.csv", content=b"")
    assert find_source(images) is find_source(tables) is sources.get("image_folder")
    assert find_source(recordings) is sources.get("audio_folder")
    assert not sources.get("image_folder").accepts(str(images / "a" / "1.png"))
    assert not sources.get("image_folder").accepts(tmp_path / "missing")
    assert not sources.get("image_folder").accepts(["a"])


def test_missing_column_is_answered_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png", "b/1.png")
    with pytest.raises(DataError, match=r"no column 'text'\..* Its columns: 'image', 'label'"):
        rows(tmp_path, ["text", "label"])


NAMES = st.sampled_from(["a.png", "b.jpg", "c.txt", ".png", ".hidden.png", "x.wav", "noending"])
FOLDERS = st.lists(st.sampled_from(["train", "val", "cat", "dog", ".git"]), max_size=3)


@given(paths=st.lists(st.tuples(FOLDERS, NAMES), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_tree_gives_all_its_images_or_an_error(tmp_path_factory: pytest.TempPathFactory, paths: Any) -> None:
    root = tmp_path_factory.mktemp("tree")
    files = {"/".join([*folders, name]) for folders, name in paths}
    write(root, *files)
    images = sorted(
        file
        for file in files
        if file.endswith((".png", ".jpg")) and not any(part[0] == "." for part in file.split("/"))
    )
    for columns in (None, ["image"]):
        with contextlib.suppress(DataError):
            assert sorted(str(row[0]) for row in rows(root, columns)) == images
            continue
        assert columns is None or not images or any("wav" in file for file in files)
