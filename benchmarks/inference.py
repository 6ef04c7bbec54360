"""One clip through I3D by every engine: time, share of the processor's limit, memory, start-up.

    python -m benchmarks.inference
    python -m benchmarks.inference --torch-python .venv-torch/bin/python --stream rgb

40x224x224, full width, random weights, 249 signs. Each engine runs in a process of its own; they
take turns with a large float32 matrix product (NumPy's, all cores), so that other load on the
machine meets all of them. Before anything is timed all must give the same probabilities.
"Keras predict" is Keras as TensorFlow sets itself up, "Keras predict, oneDNN" is
`predict.py --engine keras`. GFLOP/s counts the multiplications and additions of the convolutions as
the network is written down, whatever an engine makes of them.

Engines whose packages are missing are left out: 8 bits need requirements-export.txt, PyTorch

    python3 -m venv .venv-torch
    .venv-torch/bin/pip install torch keras numpy opencv-contrib-python pandas tqdm
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks import ROOT
from benchmarks.inference_server import ENGINES, prepare, start_server
from benchmarks.rounds import in_turns, medians, seconds_of
from benchmarks.worker import has_torch
from common import command_line
from common.network_input import STREAMS
from common.presets import PRESETS

MATRIX_SIZE = 3072
AGREEMENT = 1e-4  # largest difference of two probabilities of float32 engines
START_ROUNDS = 3
GIB = 2**30


def matrix_product_gflops():
    """GFLOP/s of one float32 matrix product on all cores."""
    matrix = np.ones((MATRIX_SIZE, MATRIX_SIZE), np.float32)
    return 2 * MATRIX_SIZE**3 / seconds_of(np.matmul, matrix, matrix) / 1e9


def check_agreement(servers):
    """Raises RuntimeError where two float32 engines answer differently; prints the differences."""
    outputs = {name: np.array(server.ask("outputs")) for name, server in servers.items()}
    first = next(iter(outputs.values()))
    for name, values in outputs.items():
        difference = np.abs(values - first).max()
        print(f"{ENGINES[name]:24} differs from the first by {difference:.1e}", flush=True)
        if name != "int8" and not difference <= AGREEMENT:
            raise RuntimeError(f"{ENGINES[name]} must agree to {AGREEMENT:g} in probability.")


def time_engines(names, pythons, folder, stream, rounds):
    """Times all engines in turns.

    Returns:
        ({engine: median seconds}, {engine: peak bytes or None}, median GFLOP/s of the product).
    """
    servers = {
        name: start_server(pythons.get(name, sys.executable), name, folder, stream)
        for name in names
    }
    try:
        check_agreement(servers)
        measures = {"product": matrix_product_gflops}
        for name, server in servers.items():
            measures[name] = functools.partial(server.ask, "time")
        figures = medians(in_turns(measures, rounds))
        memory = {name: server.ask("memory") for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.close()
    product = figures.pop("product")
    return figures, memory, product


def time_start(run_dir, clip, engine_name):
    """(seconds, peak bytes or None) of a `predict.py` process that names one clip."""
    command = [sys.executable, str(ROOT / "predict.py"), str(clip), "--model", str(run_dir)]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--engine", engine_name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.read()
    seconds = time.perf_counter() - started
    if not hasattr(os, "wait4"):
        return seconds, None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed.")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def time_starts(folder):
    """Start-up with the RGB stream alone, and peak memory with both streams.

    Returns:
        ({"keras", "openvino": seconds of the second start}, seconds of OpenVINO's first start,
        peak bytes).
    """
    clip = folder.parent / "clip"
    clip.mkdir()
    for number in range(PRESETS["full"].num_frames):
        image = np.full((*PRESETS["full"].frame_size, 3), 5 * number, np.uint8)
        cv2.imwrite(str(clip / f"{number:02}.png"), image)
    alone = folder.parent / "alone"
    alone.mkdir()
    for name in ("run.json", "rgb.keras"):
        (alone / name).write_bytes((folder / name).read_bytes())
    first, _ = time_start(alone, clip, "openvino")
    time_start(alone, clip, "keras")
    measures = {
        name: lambda name=name: time_start(alone, clip, name)[0] for name in ("keras", "openvino")
    }
    seconds = medians(in_turns(measures, START_ROUNDS))
    time_start(folder, clip, "openvino")
    _, peak = time_start(folder, clip, "openvino")
    return seconds, first, peak


def print_engines(seconds, memory, product, work):
    print(f"\n{'engine':24}{'s a clip':>10}{'GFLOP/s':>10}{'of product':>12}{'peak GiB':>10}")
    for name, value in seconds.items():
        peak = f"{memory[name] / GIB:10.2f}" if memory[name] else f"{'?':>10}"
        speed = work / value
        print(f"{ENGINES[name]:24}{value:10.2f}{speed:10.0f}{speed / product:12.2f}{peak}")
    print(f"{'matrix product':24}{'':10}{product:10.0f}{1:12.2f}", flush=True)


def print_goals(goals):
    """Rows of (what, figure, limit, whether the figure has to be at least the limit)."""
    print(f"\n{'must reach':56}{'figure':>8}{'limit':>9}")
    for what, figure, limit, at_least in goals:
        met = figure >= limit if at_least else figure <= limit
        sign = ">=" if at_least else "<="
        print(f"{what:56}{figure:8.2f}  {sign}{limit:5.2f}  {'met' if met else 'NOT met'}")


def speed_goals(seconds, product, work):
    openvino = seconds.get("openvino")
    if openvino is None:
        return []
    goals = [("share of the matrix product's GFLOP/s", work / openvino / product, 0.8, True)]
    for name in ("keras", "onednn"):
        if name in seconds:
            goals.append((f"time against {ENGINES[name]}", openvino / seconds[name], 0.5, False))
    if "int8" in seconds:
        goals.append(("time of 8 bits against float32", seconds["int8"] / openvino, 0.6, False))
    return goals


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--stream", choices=STREAMS, default="flow")
    parser.add_argument("--rounds", type=int, default=5, help="timed clips of each engine")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--no-start", action="store_true", help="leave the start-up times out")
    arguments = parser.parse_args(argv)
    names = [name for name in ENGINES if name in arguments.engines]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model", "random")
        prepared = prepare(folder, arguments.stream, "int8" in names)
        if "torch" in names and not has_torch(arguments.torch_python):
            names.remove("torch")
        if not prepared["int8"]:
            names = [name for name in names if name != "int8"]
        figures = time_engines(
            names, {"torch": arguments.torch_python}, folder, arguments.stream, arguments.rounds
        )
        print_engines(*figures, prepared["gflop"])
        goals = speed_goals(figures[0], figures[2], prepared["gflop"])
        if not arguments.no_start:
            starts, first, peak = time_starts(folder)
            print(
                f"\npredict.py to its answer, one stream: Keras {starts['keras']:.1f} s, OpenVINO"
            )
            print(f"{starts['openvino']:.1f} s, converting included {first:.1f} s")
            ratio = starts["openvino"] / starts["keras"]
            goals.append(("start of predict.py against Keras's", ratio, 0.5, False))
            if peak:
                goals.append(("peak memory with both streams, GiB", peak / GIB, 2.0, False))
        print_goals(goals)


if __name__ == "__main__":
    command_line.run(main)
