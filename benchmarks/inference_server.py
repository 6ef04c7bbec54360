"""The processes of inference.py: one network in one engine, timed on request."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from common import dataset as data
from common import run_folder
from common.keras_import import import_keras
from common.presets import PRESETS
from inference import (
    conversion,
    converted_files,
    engine,
)
from inference.saved_network import load_model

NUM_CLASSES = 249
NUM_CALIBRATION_CLIPS = 3
WEIGHT_SCALE = 0.02

ENGINES = {
    "keras": "Keras predict",
    "onednn": "Keras predict, oneDNN",
    "function": "tf.function",
    "xla": "XLA",
    "torch": "PyTorch",
    "openvino": "OpenVINO float32",
    "int8": "OpenVINO 8 bits",
}


class Server:
    """A process that holds one network in one engine and answers a line with a line of JSON."""

    def __init__(self, python, name, folder, stream):
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
        environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
        if name == "torch":
            environment["KERAS_BACKEND"] = "torch"
        command = [python, "-m", "benchmarks.inference_server", "serve", name, str(folder), stream]
        self.name = name
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request):
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise RuntimeError(f"{ENGINES[self.name]} ended (its message is above).") from error

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve(name, folder, stream):
    """Answers "outputs", "time" and "memory" until the standard input ends."""
    run = run_folder.Run.read(folder)
    clip = random_clips(run, stream, 1)
    compute = opened(name, run, stream)
    for request in sys.stdin:
        started = time.perf_counter()
        if request.strip() == "memory":
            answer = peak_memory()
        else:
            outputs = np.asarray(compute(clip))
            elapsed = time.perf_counter() - started
            answer = outputs.tolist() if request.strip() == "outputs" else elapsed
        print(json.dumps(answer), flush=True)


def opened(name, run, stream):
    """A function from a clip to probabilities."""
    if name in ("openvino", "int8"):
        return engine.OPENERS[name](run, stream)
    if name == "keras":  # not by run_folder, which would switch oneDNN on
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
    command = [
        sys.executable,
        "-m",
        "benchmarks.inference_server",
        "prepare",
        str(folder),
        stream,
        str(int(with_int8)),
    ]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


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
    signs = [data.Sign(str(number), str(number)) for number in range(NUM_CLASSES)]
    run = run_folder.Run(
        folder, "i3d", "random", preset, signs, {"algorithm": "tvl1"}, {}, {}, 0.5, run_folder.now()
    )
    random = np.random.default_rng(0)
    work = {}
    folder.mkdir(parents=True)
    for stream in run_folder.STREAMS:
        model = model_i3d.build_i3d(*converted_files.input_shape(run, stream), NUM_CLASSES)
        model.set_weights([random_weight(random, weight) for weight in model.weights])
        model.save(run.model_file(stream))
        work[stream] = gflop(model)
    run.write()
    return work


def random_weight(random, weight):
    """Random kernels and offsets; running variances stay at one."""
    if weight.name == "moving_variance":
        return np.ones(weight.shape, np.float32)
    scale = np.sqrt(2 / np.prod(weight.shape[:-1])) if weight.name == "kernel" else WEIGHT_SCALE
    return (random.standard_normal(weight.shape) * scale).astype(np.float32)


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
