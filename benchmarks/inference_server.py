"""The processes of `benchmarks.inference`: one network in one engine, timed on request."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import ROOT
from benchmarks.rounds import seconds_of
from benchmarks.training import random_weight
from benchmarks.worker import Worker, answer_requests
from common import class_list
from common.network_input import STREAMS
from common.presets import PRESETS
from common.slow_imports import import_keras
from inference import conversion, converted_files, engine, run_folder
from inference.saved_network import load_model

MODULE = "benchmarks.inference_server"
NUM_CLASSES = 249
NUM_CALIBRATION_CLIPS = 3

ENGINES = {
    "keras": "Keras predict",
    "onednn": "Keras predict, oneDNN",
    "function": "tf.function",
    "xla": "XLA",
    "torch": "PyTorch",
    "openvino": "OpenVINO float32",
    "int8": "OpenVINO 8 bits",
}


def start_server(python, name, folder, stream):
    """A `Worker` that holds the network of a stream in one of `ENGINES`."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    if name == "torch":
        environment["KERAS_BACKEND"] = "torch"
    arguments = ["serve", name, str(folder), stream]
    return Worker(ENGINES[name], python, MODULE, arguments, environment)


def serve(name, folder, stream):
    """Answers "outputs", "time" and "memory" until the standard input ends."""
    run = run_folder.Run.read(folder)
    clip = random_clips(run, stream, 1)
    compute = opened(name, run, stream)
    answers = {
        "outputs": lambda: np.asarray(compute(clip)).tolist(),
        "time": lambda: seconds_of(lambda: np.asarray(compute(clip))),
        "memory": peak_memory,
    }
    answer_requests(lambda request: answers[request]())


def opened(name, run, stream):
    """A function from a clip to probabilities."""
    if name in ("openvino", "int8"):
        return engine.OPENERS[name](run, stream)
    if name == "keras":  # not by `load_model`, which would switch oneDNN on
        import keras

        import model_i3d  # noqa: F401 (registers its layers)

        model = keras.saving.load_model(run.model_file(stream), compile=False)
    else:
        keras = import_keras()
        model = load_model(run.model_file(stream), compile=False)
    if name in ("keras", "onednn"):
        return lambda clip: model.predict(clip, verbose=0)
    if name == "torch":
        return lambda clip: keras.ops.convert_to_numpy(model.predict_on_batch(clip))
    import tensorflow

    shape = tensorflow.TensorSpec((1, *model.input_shape[1:]), tensorflow.float32)
    return tensorflow.function(
        lambda clip: model(clip, training=False),
        input_signature=[shape],
        jit_compile=name == "xla",
    )


def peak_memory():
    """Peak resident bytes of this process; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def prepare(folder, stream, with_int8):
    """Writes a run of random networks, in a process of its own, so that this one stays small.

    Returns:
        {"gflop": of a clip of the stream, "int8": whether there is an 8-bit network}.
    """
    arguments = ["prepare", str(folder), stream, str(int(with_int8))]
    done = subprocess.run(
        [sys.executable, "-m", MODULE, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def prepare_here(folder, stream, with_int8):
    """Prints what `prepare` returns."""
    work = make_run(Path(folder))
    has_int8 = with_int8 == "1" and make_int8(run_folder.Run.read(folder), stream)
    print("\n" + json.dumps({"gflop": work[stream], "int8": has_int8}))


def make_run(folder):
    """Writes a run of both streams with random weights; returns GFLOP of a clip per stream."""
    import_keras()
    import model_i3d

    preset = PRESETS["full"]
    signs = [class_list.Sign(str(number), str(number)) for number in range(NUM_CLASSES)]
    run = run_folder.Run(
        folder, "i3d", "random", preset, signs, {"algorithm": "tvl1"}, {}, {}, 0.5, run_folder.now()
    )
    random = np.random.default_rng(0)
    work = {}
    folder.mkdir(parents=True)
    for stream in STREAMS:
        model = model_i3d.build_i3d(*converted_files.input_shape(run, stream), NUM_CLASSES)
        model.set_weights([random_weight(random, weight) for weight in model.weights])
        model.save(run.model_file(stream))
        work[stream] = gflop(model)
    run.write()
    return work


def gflop(model):
    """1e9 multiplications and additions of the convolutions of one clip."""
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    counts = [2 * math.prod((*layer.kernel.shape, *layer.output.shape[1:-1])) for layer in kernels]
    return sum(counts) / 1e9


def make_int8(run, stream):
    """Quantises with random clips; False where NNCF is missing."""
    import export

    try:
        export.require("int8")
    except ModuleNotFoundError as error:
        print(f"8 bits are left out: {error}", file=sys.stderr, flush=True)
        return False
    model = load_model(run.model_file(stream), compile=False)
    clips = random_clips(run, stream, NUM_CALIBRATION_CLIPS)
    models = export.quantise(conversion.convert(model), clips)
    converted_files.store(models, converted_files.int8_dir(run, stream))
    return True


def random_clips(run, stream, number):
    shape = (number, *converted_files.input_shape(run, stream))
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


if __name__ == "__main__":
    {"serve": serve, "prepare": prepare_here}[sys.argv[1]](*sys.argv[2:])
