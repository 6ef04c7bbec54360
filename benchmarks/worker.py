"""Processes of their own for what is compared: each answers a line with a line of JSON."""

import contextlib
import json
import os
import subprocess
import sys

from benchmarks import ROOT


class Worker:
    """A process that runs a module of this folder, which calls `answer_requests`.

    Args:
        name: what it measures, for messages.
        python: the Python executable.
        module: such as "benchmarks.training".
        arguments: of its command line.
        environment: its environment variables.
    """

    def __init__(self, name, python, module, arguments, environment):
        self.name = name
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request):
        """Sends a line and returns the answer.

        Raises:
            RuntimeError: the process has ended; its own message is on the terminal.
        """
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise RuntimeError(f"{self.name} ended (its message is above).") from error

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def answer_requests(answer):
    """The other end of `Worker`: prints `answer(line)` until the standard input ends."""
    for line in sys.stdin:
        print(json.dumps(answer(line.strip())), flush=True)


def has_torch(python):
    """Whether a Python can run the project's networks on PyTorch; tells where it cannot."""
    command = [python, "-c", "import keras, torch, cv2, pandas, tqdm"]
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    found = subprocess.run(command, env=environment, capture_output=True).returncode == 0
    if not found:
        print("PyTorch is left out: not found (see --help).")
    return found
