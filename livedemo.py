"""The live demo: sign in front of a camera, and read the answer at once.

    python livedemo.py
    python livedemo.py --model model/<run> --camera clip.avi --json
    python livedemo.py --headless --camera clip.avi
    python livedemo.py --dataset my_signs
    python livedemo.py --web

reads   model/<run>/ (the newest one by default), a camera or a video file; with --web the camera
        of a browser, where the window is then, too
        with --dataset: data_set/<dataset>/train/, whose clips are compared with, without training
writes  recording/<date>/ when `s` is pressed: frames/*.png, recording.avi, answer.json
        with --dataset: data_set/<dataset>/train/<sign>/0001.avi ... when signs are taught, key `t`
prints  a line per answer

Frames are picked by time while you sign and their optical flow is computed at once, so that only
the networks, or of a large I3D half of them, are left to run when the recording ends. `?` in
the window tells the keys.
"""

from common import command_line  # isort: split

import contextlib
import functools
import json
import sys
import time
import warnings

import predict
import train_nearest
from common import dataset as data
from common.command_line import COUNT, SHARE, quote
from common.presets import NEAREST_PRESETS
from common.video import read_clip
from inference import run_folder
from live.camera import OPTIONS, WAIT_SECONDS, Camera, check_file, is_device
from live.capture import ClipFolder
from live.picture import PictureWindow, View
from live.recognition import Recognition, Result
from live.session import LiveSession
from live.state import State
from live.window import can_write
from web import server

TITLE = "Sign language recognition"
DEFAULT_THRESHOLD = 0.5


def run_window(
    run,
    source,
    engine,
    tell,
    unpaced=False,
    is_continuous=False,
    hint="",
    dataset=None,
    camera=None,
    window=None,
    **settings,
):
    """The live demo in a window, until the person quits.

    Args:
        source: of the camera, where `camera` is not given.
        hint: what to do where there can be no window.
        camera, window: in place of a camera and a window of this machine.
        dataset: `Dataset` whose clips are compared with in place of a trained network, and which
            can be added to.

    Raises:
        OSError: no window can be opened here.
    """
    started = time.monotonic()
    window = window or PictureWindow(TITLE, hint)
    opened = dataset.video_dir if dataset else run.folder
    window.show(View(heading="STARTING ...", message=f"Opening {opened} ..."))
    window.key()
    camera = camera or Camera(source, unpaced)
    recognition = Recognition(run, engine, opener(dataset) if dataset else None)
    if dataset:
        settings["clips"] = ClipFolder(dataset, ".avi")
    live = LiveSession(camera, recognition, window, tell, **settings)
    for sign in run.signs:  # fonts are looked for now, and not in the middle of an answer
        can_write(sign.name)
    is_new = True
    while not live.demo.wants_quit:
        live.step()
        if is_new and live.demo.state is State.READY:
            is_new = False
            seconds = time.monotonic() - started
            words = f"ready after {seconds:.1f} s, engine: {recognition.engine_text}"
            print(words, file=sys.stderr, flush=True)
            if is_continuous:
                live.demo.shows_help = False
                live.press("c")
        is_sliding = live.demo.state is State.CONTINUOUS
        while unpaced and is_sliding and not (recognition.is_idle or recognition.problem):
            time.sleep(0.001)
    window.close()
    live.close()


def run_headless(
    run, source, engine, tell, unpaced=False, is_continuous=False, wanted=0, **settings
):
    """Recordings one after the other, or a sliding window, without any window.

    Args:
        wanted: number of recordings, 0 for no end.

    Raises:
        OSError: the camera delivers nothing from the start.
        ValueError: the networks cannot be used.
    """
    recognition = Recognition(run, engine)
    while not recognition.is_ready:
        _raise_problem(recognition)
        time.sleep(WAIT_SECONDS)
    print(f"engine: {recognition.engine_text}", file=sys.stderr, flush=True)
    # A file is gone through once where a sliding window looks at it.
    camera = Camera(source, unpaced, loop=not is_continuous)
    live = LiveSession(camera, recognition, None, tell, **settings)
    last_words, state = None, None
    while not camera.has_ended and not (wanted and live.num_answers == wanted):
        if live.demo.state in (State.READY, State.ANSWER):
            live.press("c" if is_continuous else " ")
        live.step()
        _raise_problem(recognition)
        if live.shot is None and camera.problem:
            raise OSError(camera.problem)
        while unpaced and not (recognition.is_idle or recognition.problem):
            time.sleep(0.001)
        state = _say_once(state, f"{live.demo.state.value} ...")
        last_words = _say_once(last_words, camera.problem or live.demo.notice(camera.now()))
    while not (recognition.is_idle or recognition.problem):
        time.sleep(WAIT_SECONDS)
    live.step()
    _raise_problem(recognition)
    if not live.num_answers:
        print(
            f"No sign was steady in {camera.name}; the window takes {run.preset.seconds:.0f} s.",
            file=sys.stderr,
        )
    live.close()


def opener(dataset):
    """What opens the clips of a data set to compare with, and says on stderr what it does."""

    def open_recognizer():
        with contextlib.redirect_stdout(sys.stderr):
            return train_nearest.open_dataset(dataset)

    return open_recognizer


def recognise_file(run, path, engine, tell, mirror=False):
    """A video file as one clip, its frames picked over its whole length as for training."""
    frames = read_clip(path, run.preset.num_frames, *run.preset.frame_size)
    if mirror:
        frames = frames[:, :, ::-1]
    recognizer = predict.Recognizer(run.folder, engine)
    print(f"engine: {predict.engine_text(recognizer)}", file=sys.stderr, flush=True)
    tell("clip", Result(recognizer.predict(frames)))


def print_result(kind, result, threshold, as_json, model):
    """One line: JSON, or for people."""
    if as_json:
        content = {"kind": kind, "model": str(model), **result.to_dict(threshold)}
        print(json.dumps(content), flush=True)
        return
    best = [f"{name} {100 * probability:.0f} %" for _, name, probability in result.answer.ranking]
    doubt = "" if result.answer.is_sure(threshold) else "not sure: "
    if result.answer.is_unknown:
        doubt = f"none of these ({100 * result.answer.unknown:.0f} %): "
    print(f"{doubt}{', '.join(best[:3])}", flush=True)


def _raise_problem(recognition):
    if recognition.problem:
        raise ValueError(recognition.problem)


def _say_once(before, words):
    if words and words != before:
        print(words, file=sys.stderr, flush=True)
    return words


def main(argv=None):
    args = parse_arguments(argv)
    if args.dataset:
        dataset = data.Dataset(args.dataset, "laptop", presets=NEAREST_PRESETS)
        run = train_nearest.without_clips(dataset).run
        print(f"clips of {dataset.video_dir}", file=sys.stderr, flush=True)
    else:
        dataset = None
        run = run_folder.Run.read(run_folder.find(args.model))
        print(f"model: {run.title}", file=sys.stderr, flush=True)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    tell = functools.partial(
        print_result, threshold=args.threshold, as_json=args.json, model=run.folder
    )
    place = (run, args.camera, args.engine, tell)
    settings = {"threshold": args.threshold, "mirror": args.mirror}
    flow_of_time = {"unpaced": args.unpaced, "is_continuous": args.continuous}
    is_file = not is_device(args.camera)
    if is_file and not args.web:
        check_file(args.camera)
    if not args.headless:
        typed = " ".join(quote(word) for word in (sys.argv[1:] if argv is None else argv))
        hint = _hint(args, typed)
        with server.serving(args, TITLE) as page:
            run_window(*place, **flow_of_time, hint=hint, dataset=dataset, **page, **settings)
    elif is_file and not args.continuous and not args.recordings:
        recognise_file(*place, mirror=args.mirror)
    else:
        run_headless(*place, **flow_of_time, wanted=args.recordings or 0, **settings)
    return 0


def _hint(args, typed):
    """The commands that do without a window what was asked for."""
    flags = {
        "--web": not args.unpaced and args.camera == OPTIONS["camera"].default,
        "--headless": not args.dataset,
    }
    commands = [f"python livedemo.py {typed} {flag}" for flag, fits in flags.items() if fits]
    words = " or ".join(f"`{' '.join(command.split())}`" for command in commands)
    return f"Signs are named without a window, too: {words}." if words else ""


def parse_arguments(argv):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {**predict.OPTIONS, **OPTIONS})
    command_line.add_flags(
        parser, {"dataset": data.OPTIONS["dataset"], **server.OPTIONS}, dataset=None
    )
    parser.add_argument(
        "--threshold",
        type=SHARE,
        default=DEFAULT_THRESHOLD,
        help=f"probability below which the answer is `not sure` (default: {DEFAULT_THRESHOLD})",
    )
    parser.add_argument(
        "--mirror", action="store_true", help="the network gets the mirrored picture, too"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object per answer and line")
    parser.add_argument("--unpaced", action="store_true", help="play a file as fast as possible")
    parser.add_argument(
        "--headless", action="store_true", help="no window; a file is one clip, with one answer"
    )
    parser.add_argument(
        "--continuous", action="store_true", help="begin with the sliding window, as key c does"
    )
    parser.add_argument(
        "--recordings",
        type=COUNT,
        metavar="N",
        help="with --headless: quit after N recordings (a file is played as a camera then)",
    )
    args = parser.parse_args(argv)
    if args.dataset and (args.model or args.headless):
        parser.error(
            "--dataset compares with clips in a window, without --model and --headless. Without a "
            "window: pipeline_nearest.py, then livedemo.py --model"
        )
    if args.web and (args.headless or args.unpaced or args.camera != OPTIONS["camera"].default):
        parser.error("--web uses the browser's camera, without --camera, --headless, --unpaced")
    if args.recordings and (args.continuous or not args.headless):
        parser.error("--recordings goes with --headless and without --continuous")
    return args


if __name__ == "__main__":
    command_line.run(main, waits=False)
