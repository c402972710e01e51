"""The wheel: what a user installs works outside the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and the dependencies of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder / "dist"), str(root)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # The dependencies come from here; appended, so that the wheel's tfft is found first.
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python.parent


def run(command: list[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_the_package_and_nothing_else(installed: Path) -> None:
    (wheel,) = (installed.parents[1] / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "tfft/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"tfft"}


def test_help_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = run([installed / "tfft", "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("fit", "evaluate", "predict", "export"))


def test_a_tiny_fit_works_from_the_wheel(
    installed: Path, tiny_preset: str, opinions: pd.DataFrame, tmp_path: Path
) -> None:
    opinions.to_csv(tmp_path / "opinions.csv", index=False)
    command = ["fit", "opinions.csv", "--task", "text_classification", "--preset", tiny_preset, "--epochs", "1"]
    done = run([installed / "tfft", *command, "--output-dir", "run", "--quiet"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "after fine-tuning" in done.stdout
    where = run([installed / "python", "-c", "import tfft; print(tfft.__file__)"], tmp_path)
    assert where.stdout.startswith(str(installed.parent)), "the source tree was used instead of the wheel"
    answer = run([installed / "tfft", "predict", "run", "the film was moving", "--quiet"], tmp_path)
    assert '"label": "' in answer.stdout, answer.stderr
