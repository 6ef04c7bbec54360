"""What a user's surroundings hold: other folders, notebooks' settings, any keras.json."""

import os
import subprocess
import sys

import pytest

from common import disk
from tests.helpers import ENVIRONMENT, ROOT, make_dataset, run_script


def run_code(code, **environment):
    settings = {**ENVIRONMENT, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=settings, cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"backend": "nonsense"}',
        '{"floatx": "float16", "image_data_format": "channels_first"}',
    ],
)
def test_a_keras_json_of_any_content_changes_nothing(tmp_path, content):
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(content)
    code = (
        "from common.slow_imports import import_keras; keras = import_keras()\n"
        "print(keras.config.floatx(), keras.config.image_data_format())"
    )
    result = run_code(code, HOME=str(tmp_path), USERPROFILE=str(tmp_path))
    assert result.stdout == "float32 channels_last\n", result.stderr
    assert (tmp_path / ".keras" / "keras.json").read_text() == content


def test_a_backend_that_is_not_installed_is_told_in_a_line():
    code = (
        "from common.command_line import run; from common.slow_imports import import_keras\n"
        "run(import_keras)"
    )
    result = run_code(code, KERAS_BACKEND="nonsense")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "KERAS_BACKEND=nonsense" in result.stderr


def test_a_thread_is_needed_and_asked_for():
    result = run_code(
        "import numpy as np; from tvl1 import TVL1; TVL1().next(np.zeros((16, 16), np.uint8))",
        NUMBA_NUM_THREADS="0",
    )
    assert "Numba cannot be imported: " in result.stderr
    assert result.stderr.endswith("NUMBA_NUM_THREADS is 0: unset it.\n")


def test_compiled_code_is_needed_and_asked_for():
    code = (
        "from common.command_line import run; from tvl1 import TVL1\nimport numpy as np\n"
        "blank = np.zeros((32, 32), np.uint8); run(lambda: TVL1().calc(blank, blank))"
    )
    result = run_code(code, NUMBA_DISABLE_JIT="1")
    assert "NUMBA_DISABLE_JIT is set" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_names_that_the_output_cannot_encode_end_nothing(encoding):
    code = "from common.command_line import run; run(lambda: print('sign \\u4f60 \\udcff'))"
    result = run_code(code, PYTHONIOENCODING=encoding)
    assert (result.returncode, result.stdout) == (0, "sign \\u4f60 \\udcff\n")


def test_without_a_home_folder_caches_lie_with_temporary_files(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(disk.Path, "home", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert disk.user_dir("XDG_CACHE_HOME", ".cache").name == ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.join("given", "cache"))
    assert disk.user_dir("XDG_CACHE_HOME", ".cache").parts == ("given", "cache")


def test_started_in_another_folder_a_command_says_where_it_works(tmp_path):
    words = f"Working in {tmp_path.resolve()}"
    assert words in run_script("frame.py", "--dataset", "mine", cwd=tmp_path, check=1).stderr
    make_dataset(tmp_path, {"train": 1})
    assert words in run_script("frame.py", "--dataset", "mine", cwd=tmp_path, check=1).stderr
    assert words not in run_script("frame.py", "--help", cwd=tmp_path, check=0).stderr
