"""Training speed on the CPU: TensorFlow against PyTorch, and reading clips against both.

    python -m benchmarks.training
    python -m benchmarks.training --torch-python .venv-torch/bin/python --rounds 9

Each backend runs in a process of its own; the two take turns, so that other load on the machine
meets both. First both compute the probabilities of the same clips with the same weights, and these
must agree. A step is `train_on_batch` with Adam, the whole network trainable: I3D of width 1, then
MobileNet and LSTM as the preset `laptop` trains them from nothing, and the LSTM alone on features
of a MobileNet of width 1.

Then, for each preset: clips per second of the network on TensorFlow, and of the generator that
feeds it, with one and two threads. Every clip is read from its JPEGs, none from memory.

Without PyTorch the TensorFlow side is printed alone. To install it beside the project:

    python3 -m venv .venv-torch
    .venv-torch/bin/pip install torch keras numpy opencv-contrib-python pandas tqdm
"""

import argparse
import functools
import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.rounds import in_turns, medians, seconds_of
from benchmarks.worker import Worker, answer_requests, has_torch
from common import command_line
from common.slow_imports import import_keras

NUM_CLASSES = 10
CHANNELS = 3
STREAMS = ("rgb", "flow")
MAX_RATIO = 2.0
# Of what a step is timed: network, shape of a batch without channels, width; and the ratio aimed at
CASES = (
    (("i3d", (4, 16, 64, 64), 1.0), 1.3),
    (("i3d", (1, 40, 224, 224), 1.0), 1.6),
    (("mobile_lstm", (4, 32, 56, 56), 0.25), 1.5),
    (("lstm", (16, 40), 1.0), 1.5),
)
AGREEMENT = 1e-4  # largest difference of two probabilities
WEIGHT_SCALE = 0.02
MOBILENET_SIZE = 224  # of the frames that features are made of
LOADED_CLIPS = {"laptop": 96, "full": 16}  # read in one measurement
STEP_CLIPS = {"laptop": 8, "full": 1}
NOISE = 8  # of the drawn frames' grey levels: JPEGs of about the size of real ones


def start_backend(python, name, case):
    """A `Worker` that holds the network of a case on one Keras backend."""
    environment = os.environ | {"KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return Worker(name, python, "benchmarks.training", ["--serve", json.dumps(case)], environment)


def serve(network, batch_shape, width_multiplier):
    """Answers "outputs" and "step" (its seconds) until the standard input ends."""
    import_keras()
    random = np.random.default_rng(0)
    model = build(network, batch_shape, width_multiplier)
    shape = (batch_shape[0], *model.input_shape[1:])
    clips = random.uniform(-1, 1, shape).astype(np.float32)
    labels = np.eye(NUM_CLASSES, dtype=np.float32)[np.arange(len(clips)) % NUM_CLASSES]
    model.set_weights([random_weight(random, weight) for weight in model.weights])
    model.compile("adam", loss="categorical_crossentropy")
    answers = {
        "outputs": lambda: model.predict(clips, verbose=0).tolist(),
        "step": lambda: seconds_of(model.train_on_batch, clips, labels),
    }
    answer_requests(lambda request: answers[request]())


def build(network, batch_shape, width_multiplier):
    """A network of `CASES`."""
    if network == "i3d":
        import model_i3d

        return model_i3d.build_i3d(
            *batch_shape[1:], CHANNELS, NUM_CLASSES, width_multiplier=width_multiplier
        )
    import model_lstm
    import model_mobile
    import train_mobile_lstm

    size = batch_shape[2:] or (MOBILENET_SIZE, MOBILENET_SIZE)
    extractor = model_mobile.build_extractor("mobilenet", *size, CHANNELS, width_multiplier)
    model = model_lstm.build_lstm(
        extractor,
        batch_shape[1],
        NUM_CLASSES,
        train_mobile_lstm.MobileLSTMOptions().units,
        dropout=0.1,
    )
    return model if network == "mobile_lstm" else model_lstm.lstm_top(model)


def random_weight(random, weight):
    """Random kernels and offsets; scales and running variances stay at one."""
    if weight.name in ("moving_variance", "gamma"):
        return np.ones(weight.shape, np.float32)
    fan_in = np.prod(weight.shape[:-1])
    if weight.path.split("/")[-2].startswith("conv_dw"):  # a filter per channel
        fan_in = np.prod(weight.shape[:2])
    scale = np.sqrt(2 / fan_in) if weight.name == "kernel" else WEIGHT_SCALE
    return (random.standard_normal(weight.shape) * scale).astype(np.float32)


def check_agreement(backends):
    """Raises RuntimeError where two backends answer differently for equal weights."""
    outputs = [np.array(backend.ask("outputs")) for backend in backends.values()]
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
        case: of `CASES`.
        pythons: `{backend: Python executable}`.
        rounds: timed steps of each backend, taken in turns after one that is not counted.

    Returns:
        `({backend: seconds}, difference)`.
    """
    backends = {name: start_backend(python, name, case) for name, python in pythons.items()}
    try:
        difference = check_agreement(backends)
        steps = {name: functools.partial(backend.ask, "step") for name, backend in backends.items()}
        in_turns(steps, 1)
        return medians(in_turns(steps, rounds)), difference
    finally:
        for backend in backends.values():
            backend.close()


def time_loading(preset, rounds):
    """Clips per second of one stream's network and of what feeds it, taken in turns.

    Args:
        preset: `presets.Preset`; a step has `STEP_CLIPS`.
        rounds: measurements of each.

    Returns:
        `{"network" | (stream, number of threads): median clips per second}`.
    """
    batch_size = STEP_CLIPS[preset.name]
    batch_shape = (batch_size, preset.num_frames, *preset.input_size)
    case = ("i3d", batch_shape, preset.width_multiplier)
    backend = start_backend(sys.executable, "tensorflow", case)
    try:
        backend.ask("step")
        with tempfile.TemporaryDirectory() as folder:
            measures = {"network": lambda: batch_size / backend.ask("step")}
            for stream in STREAMS:
                clips = store_clips(Path(folder), preset, stream)
                for threads in (1, 2):
                    measures[stream, threads] = functools.partial(
                        read_clips, clips, preset, stream, batch_size, threads
                    )
            return medians(in_turns(measures, rounds))
    finally:
        backend.close()


def store_clips(folder, preset, stream):
    """Writes drawn clips as the stages store them: `LOADED_CLIPS` times the same frames."""
    import cv2

    import opticalflow
    from common import dataset as data
    from common.video import write_image

    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(coarse, preset.frame_size[::-1], interpolation=cv2.INTER_CUBIC)
    noise = random.normal(0, NOISE, (preset.num_frames, *image.shape))
    frames = np.clip(image + noise, 0, 255).astype(np.uint8)
    clips = []
    for number in range(LOADED_CLIPS[preset.name]):
        path = folder / stream / f"clip{number}"
        path.parent.mkdir(exist_ok=True)
        if stream == "flow":
            opticalflow.write_flow(path, frames[..., :2] / np.float32(127.5) - 1)
        else:
            path.mkdir()
            for index, picture in enumerate(frames):
                write_image(path / f"frame{index:04d}.jpg", picture)
        clips.append(data.Clip("train", "sign", path.name, path))
    return clips


def read_clips(clips, preset, stream, batch_size, threads):
    """Clips per second of a new `ClipSequence` with augmentation, read by `threads` threads."""
    from datagenerator import ClipSequence

    sequence = ClipSequence(
        clips, ["sign"], stream, preset.input_size, batch_size, seed=0, augment="weak", flip=True
    )

    def read_all():
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(sequence.__getitem__, range(sequence.num_batches)):
                pass

    return len(clips) / seconds_of(read_all)


def print_loading(preset, speeds):
    print(f"{preset.name:>8}  {speeds['network']:9.2f}", end="")
    for stream in STREAMS:
        print("".join(f"{speeds[stream, threads]:9.1f}" for threads in (1, 2)), end="")
    slowest = min(speed for name, speed in speeds.items() if name != "network")
    verdict = "training waits for nothing" if slowest > speeds["network"] else "loading limits"
    print(f"  {speeds['network'] / slowest:7.1%}  {verdict}", flush=True)


def print_row(case, aim, seconds, difference):
    network, (num_clips, *shape), _ = case
    what = f"{network}, {num_clips} x {'x'.join(map(str, shape))}"
    line = f"{what:>24}  {seconds['tensorflow']:10.3f} s"
    if "torch" in seconds:
        ratio = seconds["tensorflow"] / seconds["torch"]
        verdict = "aim reached" if ratio <= aim else "floor kept" if ratio <= MAX_RATIO else "slow"
        line += f"  {seconds['torch']:6.3f} s  {ratio:5.2f}  {aim:4.1f}  {MAX_RATIO:5.1f}"
        line += f"  {verdict:<11}  {difference:.0e}"
    print(line, flush=True)


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each backend")
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        return serve(*arguments.serve)
    pythons = {"tensorflow": sys.executable}
    if has_torch(arguments.torch_python):
        pythons["torch"] = arguments.torch_python
    print(f"{'clips':>24}  TensorFlow    PyTorch   ratio   aim  floor  verdict      difference")
    for case, aim in CASES:
        print_row(case, aim, *time_case(case, pythons, arguments.rounds))
    from common.presets import PRESETS

    import_keras()
    print("\nClips per second: the network, and reading with 1 and 2 threads")
    print("  preset    network    rgb 1    rgb 2   flow 1   flow 2  loading  verdict")
    for preset in PRESETS.values():
        print_loading(preset, time_loading(preset, arguments.rounds))


if __name__ == "__main__":
    command_line.run(main)
