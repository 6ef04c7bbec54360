"""Record your own signs with a webcam, as a data set to train on.

    python videocapture.py --dataset my_signs --sign hello thanks --clips 10
    python videocapture.py --dataset my_signs --sign hello thanks --web
    python videocapture.py --list

reads   a camera; data_set/<dataset>/class.csv where no --sign is given
writes  data_set/<dataset>/train/<sign>/0001.avi ...

Space counts down, a flash and a beep start the recording, and each clip is shown again: Space keeps
it, r records it anew; Esc stops, u deletes the clip that was kept last, `?` tells the keys. Clips
are numbered on and never overwritten. They hold all that the camera saw, of which networks see what
is in the box; only the window is mirrored.
"""

from common import command_line  # isort: split

import concurrent.futures
import contextlib
import math
import sys
from pathlib import Path

import cv2

from common import class_list
from common import dataset as data
from common.command_line import COUNT, Number, number_of, quote
from common.presets import PRESETS
from live.camera import (
    BLACK,
    OPTIONS,
    WAIT_SECONDS,
    Camera,
    check_file,
    is_black,
    probe_cameras,
)
from live.capture import (
    COUNTDOWN_SECONDS,
    FRAMES_SHOWN_AGAIN,
    Capture,
    ClipFolder,
    State,
    check_sign_name,
)
from live.picture import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SLATE,
    WHITE,
    PictureWindow,
    View,
    network_box,
)
from live.recording import FOURCC
from live.state import FROZEN_SECONDS, NO_PICTURE
from training.run import run_dir
from web import server

TITLE = "Record your signs"
PRESET = PRESETS["laptop"]
CLIP_SECONDS = Number(float, lambda value: 0 < value <= 600, "a number above 0, up to 600")
FLASH_SECONDS = 0.15
KEYS = "Space: record   u: delete the last one   ?: help   q: quit"
KEYS_OF_STOP = "Esc: stop   ?: help   q: quit"
PRESS_SPACE = "Press Space, then sign inside the box, which is what networks see."
KEYS_OF_REVIEW = "Space: keep   r: redo   ?: help   q: quit without it"
HELP = [
    ("Space", "count down, then record {seconds:g} seconds; afterwards: keep the clip"),
    ("r", "record the clip anew that is shown again"),
    ("u", "delete the clip that was kept last, to record it again"),
    ("Esc", "stop"),
    ("?", "this help; any key closes it"),
    ("q", "quit; what was kept stays"),
    ("", ""),
    ("", "The picture is mirrored for you; clips hold all that the camera saw."),
    ("", "Networks see what is in the box."),
]
MIN_SIGNS = 2  # that a network can tell apart
SENSIBLE_CLIPS = 10  # of each sign


def view_of(capture, camera, shot, now):
    """The `View` of a moment."""
    if capture.shows_help:
        lines = [(key, text.format(seconds=capture.seconds)) for key, text in HELP]
        return View("HELP", SLATE, lines=lines, keys="any key: back   q: quit")
    passed = max(0.0, now - capture.since)
    view = View(keys=KEYS, corner=f"{camera.fps:.0f} fps")
    in_all = f"{min(capture.num_kept + 1, capture.num_wanted)} of {capture.num_wanted} in all"
    view.note = f"clip {capture.number} of {capture.num_clips} · {in_all}"
    if shot:
        view.camera, view.live_part = cv2.flip(shot.image, 1), (0.0, 0.0, 1.0, 1.0)
        view.box = network_box(shot.image.shape, PRESET.frame_size, PRESET.input_size)
    if camera.problem and capture.state is not State.REVIEW:
        view.heading, view.color, view.lines = "NO CAMERA", PURPLE, [("", camera.problem)]
        view.keys = "?: help   q: quit"
    elif capture.state is State.READY:
        view.heading, view.color = f"READY: {capture.sign}", GREEN
        view.message = PRESS_SPACE if shot else NO_PICTURE
    elif capture.state is State.COUNTDOWN:
        view.heading, view.color = f"GET READY: {capture.sign}", ORANGE
        view.big = str(max(1, math.ceil(COUNTDOWN_SECONDS - passed)))
        view.keys = KEYS_OF_STOP
    elif capture.state is State.RECORDING:
        left = max(0.0, capture.seconds - passed)
        view.heading, view.color = f"RECORDING: {capture.sign}", RED
        view.bar, view.bar_text = left / capture.seconds, f"{left:.1f} s left"
        view.keys = KEYS_OF_STOP
        if passed < FLASH_SECONDS:
            view.camera[:], view.live_part = WHITE, None
    else:
        number = int(passed / capture.seconds * FRAMES_SHOWN_AGAIN) % FRAMES_SHOWN_AGAIN
        view.heading, view.color = f"KEEP IT? {capture.sign}", BLUE
        view.camera, view.box = cv2.flip(capture.recording.picked[number], 1), None
        view.live_part = None
        view.message = "This is what was recorded."
        view.keys = KEYS_OF_REVIEW
    return view


class Session:
    """Camera, window and state of one sitting; `step` looks at all of them once."""

    def __init__(self, camera, window, clips, signs, num_clips, seconds):
        self.camera, self.window = camera, window
        self.capture = Capture(signs, num_clips, seconds, self._save, self._undo)
        self._clips = clips
        self._kept = []  # paths of this sitting's clips
        self._shot = None
        self._message = ""
        self._saver = concurrent.futures.ThreadPoolExecutor(1)
        self._saving = None

    def step(self):
        shots = self.camera.take(WAIT_SECONDS)
        now = self.camera.now()
        before = self.capture.state
        for shot in shots:
            self._shot = shot
            self.capture.frame(shot)
        self.capture.tick(now)
        is_frozen = self._shot and now - self._shot.seconds > FROZEN_SECONDS
        if (self.camera.problem or is_frozen) and self.capture.lost(now):
            self._message = "Not recorded: the camera stood still or was lost. Press Space again."
        if self.capture.state is State.RECORDING and before is not State.RECORDING:
            print("\a", end="", file=sys.stderr, flush=True)
        self._check_saving(now)
        self._show(now)

    def close(self):
        """Waits for what is being saved."""
        self._saver.shutdown()
        self._check_saving(self.camera.now())
        self.camera.close()
        self.window.close()

    def _save(self, sign, recording):
        self._message = "Saving ..."
        self._saving = self._saver.submit(self._clips.save, sign, recording)

    def _undo(self):
        """Deletes the clip that was kept last; returns whether."""
        if not self._kept:
            self._message = "Nothing that was kept in this sitting is left to delete."
            return False
        path = self._kept[-1]
        try:
            self._clips.remove(path)
        except OSError as error:
            self._message = f"Not deleted: {error}"
        else:
            self._kept.pop()
            self._message = f"Deleted {path.as_posix()}: press Space to record it again."
        print(self._message, flush=True)
        return path not in self._kept

    def _check_saving(self, now):
        if self._saving is None or not self._saving.done():
            return
        try:
            self._kept.append(self._saving.result())
            self._message = f"Kept as {self._kept[-1].as_posix()}"
            print(self._message, flush=True)
            self.capture.saved(now)
        except (OSError, ValueError, cv2.error) as error:
            self._message = f"Not saved: {error}"
            print(self._message, file=sys.stderr, flush=True)
            self.capture.not_saved(now)
        self._saving = None

    def _show(self, now):
        view = view_of(self.capture, self.camera, self._shot, now)
        if self._shot and is_black(self._shot.image):
            view.message = BLACK
        view.message = self._message or view.message
        self.window.show(view)
        key = self.window.key()
        if key:
            self._message = ""
            self.capture.key(key, now)
        self.capture.wants_quit |= self.window.is_closed


def record(
    dataset,
    signs,
    num_clips,
    source,
    seconds=PRESET.seconds,
    suffix=".avi",
    camera=None,
    window=None,
):
    """Records clips in a window until all are there or the person quits; returns how many.

    Args:
        source: of the camera, where `camera` is not given.
        camera, window: in place of a camera and a window of this machine.

    Raises:
        OSError: no window can be opened here.
        ValueError: another process records into the data set.
    """
    folder = dataset.video_dir
    clips = ClipFolder(dataset, suffix)
    with (
        _no_empty_folders(folder.parent),
        clips.lock(),
        _no_empty_folders(folder / "train", folder),
    ):
        window = window or PictureWindow(TITLE, _hint_without_window(folder))
        window.show(View(heading="STARTING ...", message="Opening the camera ..."))
        camera = camera or Camera(source)
        session = Session(camera, window, clips, signs, num_clips, seconds)
        while not session.capture.wants_quit and session.capture.state is not State.DONE:
            session.step()
        session.close()
    return session.capture.num_kept


@contextlib.contextmanager
def _no_empty_folders(*folders):
    """Removes the folders that came into being inside and hold nothing at its end."""
    new = [folder for folder in folders if not folder.exists()]
    try:
        yield
    finally:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _hint_without_window(folder):
    place = quote(folder / "train" / "SIGN")
    return f"In a browser: --web. Videos that you have already can be copied into {place}/."


def list_cameras():
    """Prints every camera that opens; returns the exit status."""
    cameras = probe_cameras()
    if not cameras:
        print("No camera opens: plug one in, or quit the program that uses it.", file=sys.stderr)
        return 1
    print(f"{'camera':8}{'size':12}{'fps':6}{'backend':12}")
    for number, width, height, fps, backend, delivers in cameras:
        note = "" if delivers else "opens, but delivers no picture"
        print(f"{number:<8}{f'{width}x{height}':12}{fps:<6.0f}{backend:12}{note}")
    return 0


def signs_to_record(dataset, names):
    """The names that were given, else the labels of class.csv.

    Raises:
        ValueError: there is neither, class.csv is malformed, or a name cannot be a folder's.
    """
    listed = class_list.read_class_file(dataset.class_file) if dataset.class_file.is_file() else []
    names = names or [sign.label for sign in listed]
    if not names:
        raise ValueError(
            f"Which signs? Name them, `--sign hello thanks`, or list them in {dataset.class_file}."
        )
    for name in names:
        check_sign_name(name)
    return list(dict.fromkeys(names))


def main(argv=None):
    args = parse_arguments(argv)
    if args.list:
        return list_cameras()
    dataset = data.Dataset(args.dataset, "laptop")
    signs = signs_to_record(dataset, args.sign)
    if isinstance(args.camera, Path):
        check_file(args.camera)
    suffix = f".{args.format}"
    with server.serving(args, TITLE) as page:
        num_kept = record(dataset, signs, args.clips, args.camera, args.seconds, suffix, **page)
    print(f"{number_of(num_kept, 'new clip')} in {(dataset.video_dir / 'train').as_posix()}.")
    if num_kept:
        tell_next(dataset, args.camera)
    return 0


def tell_next(dataset, source):
    """Prints the commands that lead from clips to the live demo."""
    camera = "" if source == OPTIONS["camera"].default else f" --camera {quote(source)}"
    signs = {clip.label for clip in dataset.videos() if clip.split == "train"}
    print("They are known at once, without training:")
    print(f"  python livedemo.py --dataset {quote(dataset.name)}{camera}")
    if len(signs) < MIN_SIGNS:
        print(
            f"Training needs at least {MIN_SIGNS} signs, of about {SENSIBLE_CLIPS} clips each; "
            f"so far there is {', '.join(signs)}."
        )
    print("Next, for many clips or many people:")
    if len(signs) < MIN_SIGNS:
        flags = f"--dataset {quote(dataset.name)} --sign ANOTHER_SIGN --clips {SENSIBLE_CLIPS}"
        print(f"  python videocapture.py {flags}{camera}")
    model = run_dir(dataset, "i3d")
    restart = " --restart" if (model / "run.json").is_file() else ""
    print(f"  python pipeline_i3d.py {dataset.flags()}{restart}")
    print(f"  python livedemo.py --model {quote(model)}{camera}")


def parse_arguments(argv):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--list", action="store_true", help="only show which cameras there are")
    command_line.add_flags(parser, {"dataset": data.OPTIONS["dataset"]}, dataset=None)
    parser.add_argument(
        "--sign", nargs="+", metavar="SIGN", help="signs to record (default: those of class.csv)"
    )
    parser.add_argument("--clips", type=COUNT, default=10, help="clips of each sign (default: 10)")
    parser.add_argument(
        "--seconds",
        type=CLIP_SECONDS,
        default=PRESET.seconds,
        help=f"length of a clip (default: {PRESET.seconds:.0f}, as the live demo records)",
    )
    command_line.add_flags(parser, {**OPTIONS, **server.OPTIONS})
    parser.add_argument(
        "--format",
        choices=[suffix[1:] for suffix in FOURCC],
        default="avi",
        help="avi is motion JPEG, mp4 is MPEG-4 and smaller (default: avi)",
    )
    args = parser.parse_args(argv)
    if args.web and args.camera != OPTIONS["camera"].default:
        parser.error("--web uses the browser's camera, without --camera")
    if not args.list and not args.dataset:
        parser.error("name the data set to record for: --dataset my_signs, or see --list")
    return args


if __name__ == "__main__":
    command_line.run(main, waits=False)
