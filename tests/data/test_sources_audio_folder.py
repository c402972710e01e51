"""Folders of recordings: the folder is the label, and broken files are named."""

from __future__ import annotations

import io
import os
import struct
import wave
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfft.console import Console
from tfft.core.errors import DataError
from tfft.data.read import read_table
from tfft.data.sources import audio_folder
from tfft.data.sources.base import sources


def wav(samples: int = 100) -> bytes:
    """Returns silence as the standard library writes it."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(16_000)
        recording.writeframes(bytes(2 * samples))
    return stream.getvalue()


WAV = wav()
MP3 = b"\xff\xfb\x90\x00" + bytes(413)
KINDS = {
    ".wav": WAV,
    ".flac": b"fLaC\0\0\0\x22" + bytes(40),
    ".ogg": b"OggS\0\2" + bytes(40),
    ".mp3": MP3,
}


def write(root: Path, *names: str, content: bytes = WAV) -> Path:
    """Writes files with the same content and returns the folder."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def rows(root: Path, columns: list[str] | None = None) -> list[list[Any]]:
    """Returns the rows of a folder, paths relative to it."""
    frame = read_table(root, columns, encoding="utf-8", console=Console(quiet=True)).frame
    if "audio" in frame:
        frame["audio"] = [os.path.relpath(path, root) for path in frame["audio"]]
    return frame.to_numpy().tolist()


@pytest.mark.parametrize("ending", KINDS)
def test_folder_is_the_label_for_every_kind_of_recording(tmp_path: Path, ending: str) -> None:
    write(tmp_path, f"yes/1{ending}", f"no/2{ending.upper()}", content=KINDS[ending])
    assert rows(tmp_path) == [[f"no/2{ending.upper()}", "no"], [f"yes/1{ending}", "yes"]]
    assert rows(tmp_path, ["label"]) == [["no"], ["yes"]]


def test_folders_of_splits_become_a_column(tmp_path: Path) -> None:
    write(tmp_path, "train/yes/1.wav", "valid/no/2.wav")
    assert rows(tmp_path) == [["train/yes/1.wav", "yes", "train"], ["valid/no/2.wav", "no", "validation"]]


def test_recordings_without_folders_have_no_label(tmp_path: Path) -> None:
    write(tmp_path, "1.wav")
    assert rows(tmp_path, ["audio"]) == [["1.wav"]]
    with pytest.raises(DataError, match=r"1 of the 1 recordings of .* are in no class folder"):
        rows(tmp_path)


def test_recordings_and_images_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/1.wav", "a/2.png")
    with pytest.raises(DataError, match=r"holds 1 recordings, but also files that end in \.png"):
        rows(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("bad.wav", b"", "empty"),
        ("bad.wav", WAV[:20], "cut off"),
        ("bad.wav", WAV[:-50], "cut off"),
        ("bad.wav", b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8 " + bytes(60), "no recording"),
        ("bad.flac", b"fLaC\0", "cut off"),
        ("bad.ogg", b"OggS", "cut off"),
        ("bad.mp3", b"<html>404</html>", "no recording"),
        ("bad.mp3", bytes(1000), "no recording"),
    ],
)
def test_broken_recordings_are_counted_and_named(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    write(tmp_path, "yes/1.wav", "no/1.wav")
    write(tmp_path, f"yes/{name}", content=content)
    with pytest.raises(DataError) as caught:
        rows(tmp_path)
    assert f"1 of 3 recordings cannot be used: {tmp_path}/yes/{name} ({problem})." in str(caught.value)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, len(WAV) - 8 + 1])
def test_sizes_that_writers_leave_open_are_no_damage(tmp_path: Path, size: int) -> None:
    content = WAV[:4] + struct.pack("<I", size) + WAV[8:]
    write(tmp_path, "yes/1.wav", "no/1.wav", content=content)
    assert len(rows(tmp_path)) == 2


def test_mp3_files_may_begin_with_tags_or_in_the_middle_of_a_frame(tmp_path: Path) -> None:
    write(tmp_path, "yes/1.mp3", content=b"ID3\4\0\0\0\0\0\0" + MP3)
    write(tmp_path, "no/1.mp3", content=b"\0\x12\x34" * 30 + MP3)
    assert len(rows(tmp_path)) == 2


@given(content=st.binary(max_size=80), start=st.sampled_from([b"", *{value[:8] for value in KINDS.values()}]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_recording_or_have_a_problem(content: bytes, start: bytes) -> None:
    whole = start + content
    problem = audio_folder.audio_problem(io.BytesIO(whole), len(whole))
    assert problem in {"", "no recording", "cut off"}
    if not start and content[:1] not in {b"R", b"f", b"O", b"I"} and b"\xff" not in content:
        assert problem == "no recording"


def test_folder_is_told_by_the_first_name_of_an_image_or_a_recording(tmp_path: Path) -> None:
    accepts = sources.get("audio_folder").accepts
    assert accepts(write(tmp_path / "a", "readme.txt", "no/1.ogg", content=b""))
    assert not accepts(write(tmp_path / "b", "no/1.txt", content=b""))
    assert not accepts(write(tmp_path / "c", "no/1.png", "yes/2.wav", content=b""))
    assert not accepts(str(tmp_path / "a" / "no" / "1.ogg"))
    assert not accepts(None)
