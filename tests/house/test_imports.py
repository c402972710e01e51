"""What must stay light: importing tfft, asking for help, and being told that the data is bad."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = "{'tensorflow', 'keras', 'keras_hub', 'sklearn', 'pandas'}"


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def test_importing_tfft_imports_nothing_heavy(tmp_path: Path) -> None:
    done = run(f"import sys, tfft; print(sorted({HEAVY} & set(sys.modules)))", tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["export", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['tfft', *{arguments}]\n"
        "from tfft.cli.app import main\n"
        "try: main()\n"
        f"finally: print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = run(code, tmp_path)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def test_bad_data_is_answered_before_tensorflow_is_imported(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("text,label\na,x\nb,x\nc,x\n")
    code = (
        "import sys, tfft\n"
        "try: tfft.fit('one.csv', task='text_classification', quiet=True)\n"
        "except tfft.DataError as error: print('tensorflow' in sys.modules, error)"
    )
    done = run(code, tmp_path)
    assert done.stdout.startswith("False one.csv: every row has the label 'x'"), done.stdout + done.stderr


def test_another_keras_backend_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text("")  # a stand-in that was imported before
    code = (
        "import sys, types\n"
        "keras = types.ModuleType('keras'); keras.backend = types.SimpleNamespace(backend=lambda: 'jax')\n"
        "sys.modules['keras'] = keras\n"
        "sys.modules['tfft.backbones.keras_hub'] = types.ModuleType('tfft.backbones.keras_hub')\n"
        "import tfft, tfft.api\n"
        "try: tfft.api.prepare_tensorflow()\n"
        "except tfft.ConfigError as error: print(error)"
    )
    done = run(code, tmp_path)
    assert "'jax' backend" in done.stdout, done.stderr
    assert "KERAS_BACKEND=tensorflow" in done.stdout
