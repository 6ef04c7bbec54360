"""One optimizer step of I3D on the CPU: Keras on TensorFlow against the same code on PyTorch.

    python benchmarks/bench_training.py
    python benchmarks/bench_training.py --torch-python .venv-torch/bin/python --rounds 9

Each backend runs in a process of its own; the two take turns, so that other load on the machine
meets both. First both compute the probabilities of the same clips with the same weights, and these
must agree. A step is `train_on_batch` with Adam, the whole network trainable, width 1.

Without PyTorch the TensorFlow side is printed alone. To install it beside the project:

    python3 -m venv .venv-torch && .venv-torch/bin/pip install torch keras numpy
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
NUM_CLASSES = 10
CHANNELS = 3
MAX_RATIO = 2.0
# (clips, frames, height, width) and the ratio aimed at
CASES = (((4, 16, 64, 64), 1.3), ((1, 40, 224, 224), 1.6))
AGREEMENT = 1e-4  # largest difference of two probabilities
WEIGHT_SCALE = 0.02
INSTALL_HINT = (
    "PyTorch was not found: only TensorFlow is timed. To compare, run\n"
    "    python3 -m venv .venv-torch && .venv-torch/bin/pip install torch keras numpy\n"
    "    python benchmarks/bench_training.py --torch-python .venv-torch/bin/python"
)


class Backend:
    """A process that holds one network on one Keras backend and times it on request."""

    def __init__(self, python, name, case):
        environment = os.environ | {"KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [python, __file__, "--serve", json.dumps(case)]
        self.name = name
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request):
        """Sends "outputs" or "step" and returns the answer.

        Raises:
            RuntimeError: the process has ended; its own message is on the terminal.
        """
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise RuntimeError(f"The {self.name} process ended (its message is above).") from error

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve(case):
    """Answers each line of the standard input with a line of JSON, until it ends."""
    sys.path.insert(0, str(ROOT))
    import run_folder

    run_folder.import_keras()
    import model_i3d

    num_clips, *clip_shape = case
    random = np.random.default_rng(0)
    clips = random.uniform(-1, 1, (num_clips, *clip_shape, CHANNELS)).astype(np.float32)
    labels = np.eye(NUM_CLASSES, dtype=np.float32)[np.arange(num_clips) % NUM_CLASSES]
    model = model_i3d.build_i3d(*clip_shape, CHANNELS, NUM_CLASSES)
    model.set_weights([_weight(random, weight) for weight in model.weights])
    model.compile("adam", loss="categorical_crossentropy")
    for request in sys.stdin:
        started = time.perf_counter()
        if request.strip() == "outputs":
            answer = model.predict(clips, verbose=0).tolist()
        else:
            model.train_on_batch(clips, labels)
            answer = time.perf_counter() - started
        print(json.dumps(answer), flush=True)


def _weight(random, weight):
    """Random kernels and offsets; running variances stay at one."""
    if weight.name == "moving_variance":
        return np.ones(weight.shape, np.float32)
    scale = np.sqrt(2 / np.prod(weight.shape[:-1])) if weight.name == "kernel" else WEIGHT_SCALE
    return (random.standard_normal(weight.shape) * scale).astype(np.float32)


def check_agreement(backends):
    """Raises RuntimeError where two backends answer differently for equal weights."""
    outputs = [np.array(backend.ask("outputs")) for backend in backends]
    difference = max(np.abs(other - outputs[0]).max() for other in outputs)
    if not difference <= AGREEMENT:
        raise RuntimeError(
            f"TensorFlow and PyTorch must agree to {AGREEMENT:g} in probability. "
            f"Received: a difference of {difference:.2g}"
        )
    return difference


def time_case(case, pythons, rounds):
    """Median seconds of a step on each backend, and the difference of their outputs.

    Args:
        case: `(clips, frames, height, width)`.
        pythons: `{backend: Python executable}`.
        rounds: timed steps of each backend, taken in turns after one that is not counted.

    Returns:
        `({backend: seconds}, difference)`.
    """
    backends = [Backend(python, name, case) for name, python in pythons.items()]
    try:
        difference = check_agreement(backends)
        for backend in backends:
            backend.ask("step")
        seconds = [[backend.ask("step") for backend in backends] for _ in range(rounds)]
    finally:
        for backend in backends:
            backend.close()
    return dict(zip(pythons, np.median(seconds, axis=0), strict=True)), difference


def has_torch(python):
    command = [python, "-c", "import keras, torch"]
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


def print_row(case, aim, seconds, difference):
    clips = "{} x {}x{}x{}".format(*case)
    line = f"{clips:>16}  {seconds['tensorflow']:10.2f} s"
    if "torch" in seconds:
        ratio = seconds["tensorflow"] / seconds["torch"]
        verdict = "aim reached" if ratio <= aim else "floor kept" if ratio <= MAX_RATIO else "slow"
        line += f"  {seconds['torch']:6.2f} s  {ratio:5.2f}  {aim:4.1f}  {MAX_RATIO:5.1f}"
        line += f"  {verdict:<11}  {difference:.0e}"
    print(line, flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each backend")
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        return serve(arguments.serve)
    pythons = {"tensorflow": sys.executable}
    if has_torch(arguments.torch_python):
        pythons["torch"] = arguments.torch_python
    else:
        print(INSTALL_HINT)
    print(f"{'clips':>16}  TensorFlow    PyTorch   ratio   aim  floor  verdict      difference")
    for case, aim in CASES:
        print_row(case, aim, *time_case(case, pythons, arguments.rounds))


if __name__ == "__main__":
    main()
