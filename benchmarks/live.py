"""How quickly the live demo answers, beside recording first and computing afterwards.

    python -m benchmarks.live
    python -m benchmarks.live --clip my_clip.mp4 --rounds 5

reads   a clip that is played as a camera: ../shared/data/ksl/Seoul/Seoul_example1.mp4, else a
        drawn one
writes  nothing; prints a Markdown table, in about six minutes

The networks are I3D of full width on 40x224x224, and MobileNet with LSTM, with random weights. The
old way is what the 2018 demo did: record, then OpenCV's `DualTVL1` (the parameters of the preset
`fast`) on 39 pairs, then Keras `predict`, each with as many threads as its library takes. Before
anything is timed, the saved frames of a live recording must give `predict.py` the same answer. The
window is a real one where there is a display or Xvfb; else its pictures are drawn and shown to
nobody.
"""

import contextlib
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import livedemo
import opticalflow
import predict
from benchmarks import ROOT, SHARED
from common import class_list, command_line
from common.network_input import STREAMS, stream_input
from common.presets import MOBILE_LSTM_PRESETS, PRESETS
from common.slow_imports import import_keras
from common.video import read_clip
from inference import conversion, converted_files, run_folder
from inference.saved_network import load_model, open_network
from live.camera import Camera
from live.picture import PictureWindow, draw
from live.recognition import Recognition
from live.session import LiveSession
from live.state import State

DEFAULT_CLIP = SHARED / "data" / "ksl" / "Seoul" / "Seoul_example1.mp4"
NUM_SIGNS = 20
IDLE_SECONDS = 4.0
AGREEMENT = 1e-3  # largest difference of two probabilities
NARROW = 0.0625  # width of the network of the many recordings; frames and flow are of full size
NUM_RECORDINGS = 200
WARM_RECORDINGS = 20  # before memory is looked at first
MAX_GROWTH_MIB = 50
AIMS = {
    ("openvino", "flow stream"): "1/6",
    ("int8", "flow stream"): "1/10",
    ("openvino", "both streams"): "1/4",
    ("int8", "both streams"): "1/4",
}
ENGINE_NAMES = {"keras": "Keras", "openvino": "OpenVINO float32", "int8": "OpenVINO int8"}


class CountingWindow:
    """A window that takes down when it showed something."""

    def __init__(self, window):
        self._window = window
        self.times = []

    def show(self, view):
        if self._window:
            self._window.show(view)
        else:
            draw(view)
        self.times.append(time.monotonic())

    def key(self):
        return self._window.key() if self._window else None

    @property
    def is_closed(self):
        return False

    def rate(self, start, end):
        """Pictures shown per second between two times."""
        return sum(start <= shown < end for shown in self.times) / (end - start)


def make_run(folder, preset, streams, architecture="i3d"):
    """A run with networks of random weights."""
    import_keras()
    import train_i3d
    import train_mobile_lstm

    build = {"i3d": train_i3d.build, "mobile_lstm": train_mobile_lstm.build}[architecture]
    units = list(train_mobile_lstm.MobileLSTMOptions().units)
    options = {"weights": "none", "extractor": "mobilenet", "units": units}
    signs = [class_list.Sign(f"c{number:03d}", f"sign {number}") for number in range(NUM_SIGNS)]
    flow = {"algorithm": "tvl1"}
    run = run_folder.Run(
        folder, architecture, "random", preset, signs, flow, {}, options, date="2000"
    )
    run.write()
    for stream in streams:
        build(run, stream).save(run.model_file(stream))
    run.write()
    return run_folder.Run.read(folder)


def make_int8(run, clip):
    """Quantises a run's networks on one clip; weights are random, so accuracy says nothing."""
    import export

    export.require("int8")
    preset = run.preset
    frames = read_clip(clip, preset.num_frames, *preset.frame_size)
    stored = {"rgb": frames, "flow": opticalflow.frames_to_flow(frames)}
    for stream in run.streams:
        inputs = stream_input(stream, stored[stream], *preset.input_size)
        shape = converted_files.input_shape(run, stream)
        model = open_network(run.model_file(stream), shape, NUM_SIGNS)
        models = export.quantise(conversion.convert(model), [inputs])
        converted_files.store(models, converted_files.int8_dir(run, stream))


def drawn_clip(path):
    """A square that moves, where the real clip is missing."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (426, 240))
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    for number in range(90):
        image = np.full((240, 426, 3), 60, np.uint8)
        image[80:160, 60 + 3 * number : 140 + 3 * number] = noise[:, : 366 - 3 * number]
        writer.write(image)
    writer.release()
    return path


def time_old_way(run, clip, rounds):
    """Median seconds of flow, and of each stream's Keras `predict`, after recording."""
    preset = run.preset
    frames = read_clip(clip, preset.num_frames, *preset.frame_size)
    networks = {s: load_model(run.model_file(s), compile=False) for s in run.streams}
    seconds = {name: [] for name in ("tvl1", *networks)}
    for round_number in range(rounds + 1):  # the first one warms up
        started = time.perf_counter()
        flow = opticalflow.frames_to_flow(frames, "tvl1-opencv")
        passed = {"tvl1": time.perf_counter() - started}
        for stream, network in networks.items():
            started = time.perf_counter()
            stored = {"rgb": frames, "flow": flow}[stream]
            inputs = stream_input(stream, stored, *preset.input_size)
            network.predict(inputs[None], verbose=0)
            passed[stream] = time.perf_counter() - started
        if round_number:
            for name, value in passed.items():
                seconds[name].append(value)
    return {name: statistics.median(values) for name, values in seconds.items()}


def watch_live(run, clip, engine, window, rounds):
    """Records `rounds` times as a person would.

    Returns:
        (results, share of the idle frame rate that is shown while the network thinks, the last
        recording).
    """
    recognition, results, shares = Recognition(run, engine), [], []
    while not recognition.is_ready:
        if recognition.problem:
            raise ValueError(recognition.problem)
        time.sleep(0.05)
    live = LiveSession(Camera(clip), recognition, window, lambda _, result: results.append(result))
    idle = until(live, lambda: live.demo.state is State.READY and live.camera.fps, IDLE_SECONDS)
    for number in range(1, rounds + 1):
        live.press(" ")
        until(live, lambda: live.demo.state is State.THINKING)
        started = time.monotonic()
        until(live, lambda number=number: len(results) == number)
        shares.append(window.rate(started, time.monotonic()) / window.rate(*idle))
    recording = live.demo.recording
    live.close()
    return results, statistics.median(shares), recording


def until(live, condition, seconds=0.0):
    """Steps until `condition` holds, then for some seconds more; returns their (start, end)."""
    while not condition():
        live.step()
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        live.step()
    return started, time.monotonic()


def check_agreement(run, engine, result, recording):
    """Raises ValueError where `predict.py` says something else about the recorded frames."""
    answer = predict.Recognizer(run.folder, engine).predict(np.stack(recording.picked))
    expected = {label: probability for label, _, probability in answer.ranking}
    worst = max(abs(expected[label] - p) for label, _, p in result.answer.ranking)
    if worst > AGREEMENT or answer.ranking[0][0] != result.answer.ranking[0][0]:
        raise ValueError(f"{engine}: live and predict.py differ by {worst:.1e}.")
    return worst


def time_start(folder, clip):
    """Seconds from the start of the program to its window, and to ready; the second start."""
    command = [sys.executable, ROOT / "livedemo.py", "--camera", clip, "--model", folder]
    for _ in range(2):
        started = time.monotonic()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        to_window = None
        if shutil.which("xdotool"):
            while not has_window() and process.poll() is None:
                time.sleep(0.02)
            to_window = time.monotonic() - started
        for line in process.stderr:
            if line.startswith("ready after"):
                break
        to_ready = time.monotonic() - started
        process.kill()
        process.wait()
    return to_window, to_ready


def has_window():
    found = subprocess.run(["xdotool", "search", "--name", livedemo.TITLE], capture_output=True)
    return bool(found.stdout.strip())


def measure_memory(run, clip):
    """MiB by which memory grows over many recordings, unpaced and headless; None if unknown."""
    if not Path("/proc/self/statm").exists():
        return None
    resident = []

    def tell(kind, result):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    livedemo.run_headless(
        run, clip, "auto", tell, unpaced=True, wanted=WARM_RECORDINGS + NUM_RECORDINGS
    )
    return resident[-1] - resident[WARM_RECORDINGS - 1]


@contextlib.contextmanager
def display():
    """Xvfb, where there is no display and it is installed; yields whether there is one."""
    if os.environ.get("DISPLAY") or sys.platform != "linux":
        yield True
        return
    if not shutil.which("Xvfb"):
        yield False
        return
    reading, writing = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(writing)], pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as answer:
        os.environ["DISPLAY"] = f":{answer.readline().strip()}"
    yield True
    server.terminate()


def print_row(what, value, target=""):
    print(f"| {what} | {value} | {target} |", flush=True)


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--clip", type=Path, default=DEFAULT_CLIP, help="video to play as a camera")
    parser.add_argument("--rounds", type=int, default=3, help="recordings each (default: 3)")
    parser.add_argument(
        "--engines", nargs="+", default=["openvino", "int8"], choices=predict.ENGINES[1:]
    )
    parser.add_argument("--skip-memory", action="store_true", help="leave the long last row out")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch, display() as has_display:
        measure(args, Path(scratch), has_display)


def measure(args, scratch, has_display):
    """Prints the table."""
    clip = args.clip if args.clip.is_file() else drawn_clip(scratch / "drawn.avi")
    full = PRESETS["full"]
    runs = {
        "flow stream": make_run(scratch / "flow", full, ("flow",)),
        "both streams": make_run(scratch / "both", full, ("rgb", "flow")),
    }
    window = CountingWindow(PictureWindow("benchmark") if has_display else None)
    print(f"{clip.name}, {os.cpu_count()} cores, OpenCV {cv2.__version__}\n")
    print_row("from the last recorded frame to the answer", "figure", "aim")
    print("|---|---|---|")
    parts = time_old_way(runs["both streams"], clip, args.rounds)
    old = {"flow stream": parts["tvl1"] + parts["flow"], "both streams": sum(parts.values())}
    for streams, seconds in old.items():
        print_row(f"old way, {streams}", f"{seconds:.2f} s (TV-L1 {parts['tvl1']:.2f} s)")
    for engine in args.engines:
        for streams, run in runs.items():
            try:
                if engine == "int8":
                    make_int8(run, clip)
            except ModuleNotFoundError as error:
                print(f"\nint8 is left out: {error}\n")
                break
            seconds = measure_engine(engine, run, clip, window, args.rounds, streams, old[streams])
            if (engine, streams) == ("openvino", "both streams"):
                measure_mobile(scratch, clip, window, args.rounds, seconds)
    if has_display:
        to_window, to_ready = time_start(runs["both streams"].folder, clip)
        if to_window:
            print_row("second start: window", f"{to_window:.2f} s", "<= 1 s")
        print_row("second start: ready", f"{to_ready:.1f} s", "<= 8 s")
    if not args.skip_memory:
        narrow = dataclasses.replace(full, width_multiplier=NARROW)
        growth = measure_memory(make_run(scratch / "narrow", narrow, ("rgb", "flow")), clip)
        what = f"growth of memory over {NUM_RECORDINGS} recordings (width {NARROW})"
        print_row(what, "unknown" if growth is None else f"{growth:.0f} MiB", f"< {MAX_GROWTH_MIB}")


def measure_engine(engine, run, clip, window, rounds, streams, old_seconds):
    """Prints the rows of one engine on a run with one stream or two; returns its seconds."""
    results, share, recording = watch_live(run, clip, engine, window, rounds)
    worst = check_agreement(run, engine, results[-1], recording)
    seconds = statistics.median(result.seconds for result in results)
    aim = AIMS.get((engine, streams), "")
    words = f"{seconds:.2f} s, 1/{old_seconds / seconds:.1f}"
    print_row(f"{ENGINE_NAMES[engine]}, {streams}", words, aim)
    left = max(result.frames_left for result in results)
    print_row("- flow frames left when recording ends", left, "<= 2")
    print_row("- preview while the network thinks", f"{share:.2f} of idle", ">= 0.8")
    print_row("- difference to predict.py on the same frames", f"{worst:.0e}")
    return seconds


def measure_mobile(scratch, clip, window, rounds, i3d_seconds):
    """Prints the row of MobileNet and LSTM beside I3D, both with OpenVINO and two streams."""
    preset = MOBILE_LSTM_PRESETS["full"]
    run = make_run(scratch / "mobile", preset, STREAMS, "mobile_lstm")
    results, _, recording = watch_live(run, clip, "openvino", window, rounds)
    check_agreement(run, "openvino", results[-1], recording)
    seconds = statistics.median(result.seconds for result in results)
    words = f"{seconds:.2f} s, 1/{i3d_seconds / seconds:.1f} of I3D's"
    print_row("MobileNet and LSTM, OpenVINO float32, both streams", words, "1/3 of I3D's")


if __name__ == "__main__":
    command_line.run(main)
