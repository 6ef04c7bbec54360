"""Stage 3 of 5: TV-L1 optical flow between the stored frames of every video.

    python opticalflow.py --dataset toysigns
    python opticalflow.py --dataset toysigns --show flow_pictures

reads   data_temp/<dataset>/<preset>/frame/<split>/<class>/<video>/frame0000.jpg
writes  data_temp/<dataset>/<preset>/oflow/<split>/<class>/<video>/flow0000.jpg

One gray JPEG per frame: dx above dy, each clipped to 20 pixels and mapped to 0..255. The first
flow of a clip is zero. `parameters.json` beside them says which method made them.
"""

from common import command_line  # isort: split

import functools
from pathlib import Path

import cv2
import numpy as np

import frame
from cluster import connection
from common import dataset as data
from common import disk, stage
from common.network_input import FLOW_BOUND_PX, quantise_flow, restore_flow
from common.slow_imports import make_figure, writable
from common.video import BYTES_PER_PIXEL, sample_indices, write_image
from tvl1 import PRESETS, TVL1

# Keeps the mean error of storing below 0.08 px at a fifth of the size of PNG: see
# benchmarks/storage.py.
FLOW_JPEG_QUALITY = 90
TVL1_PRESET = "fast"
SHOWN_WIDTH, WHEEL_WIDTH = 1.6, 121  # inches, pixels
SHOWN_FRAMES = 8  # columns of a contact sheet
FLOW_OF_FULL_COLOR = 0.25  # share of FLOW_BOUND_PX at which a colour is saturated


class OpenCVFlow:
    """Any of OpenCV's dense flow methods behind the interface of `tvl1.TVL1`."""

    def __init__(self, calculate, **parameters):
        self.parameters = parameters
        self._calculate = calculate
        self._previous = None

    def next(self, gray):
        """Flow from the image before to this one; zeros for the first.

        Args:
            gray: uint8 `(height, width)`.

        Returns:
            float32 `(height, width, 2)`: (dx, dy) in pixels.
        """
        previous, self._previous = self._previous, gray
        if previous is None:
            return np.zeros((*gray.shape, 2), np.float32)
        return self._calculate(previous, gray)


def make_tvl1():
    """Our own solver of TV-L1."""
    return TVL1(TVL1_PRESET)


def make_tvl1_opencv():
    """OpenCV's solver of TV-L1 with the parameters of the preset `fast` of `tvl1.TVL1`."""
    method = cv2.optflow.DualTVL1OpticalFlow_create(scaleStep=0.5, warps=3, epsilon=0.02)
    return OpenCVFlow(
        lambda previous, following: method.calc(previous, following, None),
        scale_step=0.5,
        num_warps=3,
        epsilon=0.02,
    )


def make_dis():
    """Dense inverse search: Kroeger et al., "Fast Optical Flow using Dense Inverse Search"."""
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return OpenCVFlow(
        lambda previous, following: method.calc(previous, following, None), preset="medium"
    )


def make_farneback():
    """Farneback, "Two-Frame Motion Estimation Based on Polynomial Expansion" (2003)."""
    numbers = {"scale": 0.5, "levels": 4, "window": 15, "iterations": 3, "poly": 5, "sigma": 1.1}
    return OpenCVFlow(
        lambda previous, following: cv2.calcOpticalFlowFarneback(
            previous, following, None, *numbers.values(), flags=0
        ),
        **numbers,
    )


ALGORITHMS = {
    "tvl1": make_tvl1,
    "tvl1-opencv": make_tvl1_opencv,
    "dis": make_dis,
    "farneback": make_farneback,
}


class FlowStream:
    """Flow of frames that arrive one by one; equal to `frames_to_flow` frame by frame.

    Args:
        algorithm: a key of `ALGORITHMS`.

    Raises:
        ValueError: `algorithm` is unknown.
    """

    def __init__(self, algorithm="tvl1"):
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm is one of {', '.join(ALGORITHMS)}. Received: {algorithm}")
        self._method = ALGORITHMS[algorithm]()

    def next(self, image):
        """Flow from the frame before to this one; zeros for the first.

        Args:
            image: uint8, BGR `(height, width, 3)` or gray `(height, width)`.

        Returns:
            float32 `(height, width, 2)`: (dx, dy) in units of `FLOW_BOUND_PX`, clipped to [-1, 1].
        """
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        flow_px = self._method.next(gray)
        flow = flow_px * np.float32(1 / FLOW_BOUND_PX)
        return np.clip(flow, -1, 1, out=flow)  # in place: new memory costs more than arithmetic


def frames_to_flow(frames, algorithm="tvl1"):
    """Dense optical flow between consecutive frames.

    Args:
        frames: uint8 BGR, `(num_frames, height, width, 3)`.
        algorithm: a key of `ALGORITHMS`.

    Returns:
        float32 `(num_frames, height, width, 2)`: (dx, dy) in units of `FLOW_BOUND_PX`, clipped to
        [-1, 1]; the first flow is zero.

    Raises:
        ValueError: `frames` is not a four-dimensional uint8 array, or `algorithm` is unknown.

    Source: Zach, Pock and Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow"
    (2007).
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(
            "Expected uint8 frames of shape (num_frames, height, width, 3). "
            f"Received: {frames.dtype} of shape {frames.shape}"
        )
    stream = FlowStream(algorithm)
    return np.stack([stream.next(image) for image in frames])


def flow_to_color(flow):
    """Colours for looking at flow, on the Middlebury colour wheel.

    The hue is the direction, the saturation the length; white does not move, and
    `FLOW_OF_FULL_COLOR` of the bound is fully saturated.

    Args:
        flow: float `(height, width, 2)`, (dx, dy) in units of `FLOW_BOUND_PX`.

    Returns:
        uint8 BGR, `(height, width, 3)`.

    Source: Baker et al., "A Database and Evaluation Methodology for Optical Flow" (2011).
    """
    wheel = _color_wheel()
    dx, dy = flow[..., 0], flow[..., 1]
    length = np.minimum(np.hypot(dx, dy) / FLOW_OF_FULL_COLOR, 1)[..., None]
    # The wheel begins to the left and turns clockwise, by the convention of its authors.
    position = (np.arctan2(-dy, -dx) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = np.floor(position).astype(int)
    share = (position - below)[..., None]
    hue = wheel[below] * (1 - share) + wheel[(below + 1) % len(wheel)] * share
    return np.rint(255 * (1 - length * (1 - hue))).astype(np.uint8)


def write_flow(folder, flow):
    """Writes flow as flow0000.jpg, flow0001.jpg, ... into the new `folder`, as it comes.

    Args:
        folder: does not exist yet.
        flow: array or iterator of float32 `(height, width, 2)`, as of `FlowStream.next`.
    """
    folder.mkdir()
    for number, codes in enumerate(map(quantise_flow, flow)):
        # (height, width, 2) -> dx above dy
        image = np.concatenate([codes[..., 0], codes[..., 1]])
        write_image(folder / f"flow{number:04d}.jpg", image, FLOW_JPEG_QUALITY)


def load_flow(folder, num_frames=None):
    """The stored flow of one clip.

    Returns:
        uint8 codes of `quantise_flow`, `(num_frames, height, width, 2)`.

    Raises:
        ValueError: a picture is missing or damaged; the message says how to make them anew.
    """
    paths = frame.stored_pictures(folder, "flow", num_frames)
    codes = np.stack([frame.read_stored(path, cv2.IMREAD_GRAYSCALE) for path in paths])
    return np.stack(np.split(codes, 2, axis=1), axis=-1)


def load_clip(stream, folder, num_frames=None):
    """What is stored of one clip for a stream: `frame.load_frames` or `load_flow`."""
    return {"rgb": frame.load_frames, "flow": load_flow}[stream](folder, num_frames)


def extract_flow(dataset, algorithm="tvl1", workers=None, rebuild=False):
    """Computes the flow of every stored clip of `dataset`; finished clips are skipped.

    Returns:
        `stage.Report`.
    """
    clips = dataset.stored_clips("rgb")
    command = f"python opticalflow.py {dataset.flags()}"
    command += "" if algorithm == "tvl1" else f" --algorithm {algorithm}"
    parameters = flow_parameters(dataset, algorithm)
    folder = dataset.flow_dir
    disk.claim(folder, parameters, command, rebuild)
    jobs = [
        stage.Job(clip.path, folder / clip.place(), str(clip.path), disk.stamp_of(clip.path))
        for clip in clips
    ]
    stage.remove_orphans("opticalflow", folder, jobs)
    preset = dataset.preset
    size = int(2 * preset.num_frames * np.prod(preset.frame_size) * BYTES_PER_PIXEL)
    flow_one = functools.partial(clip_to_flow, algorithm=algorithm, num_frames=preset.num_frames)
    return stage.run("opticalflow", flow_one, jobs, folder, workers, bytes_per_job=size)


def flow_parameters(dataset, algorithm):
    """What the content of a flow folder depends on."""
    is_ours = algorithm == "tvl1"  # to make a solver takes half a second, also without a new clip
    return {
        "algorithm": algorithm,
        **(PRESETS[TVL1_PRESET] if is_ours else ALGORITHMS[algorithm]().parameters),
        "bound_px": FLOW_BOUND_PX,
        "frames": disk.read_parameters(dataset.frame_dir),
    }


def clip_to_flow(source, partial, algorithm, num_frames):
    """One job of the stage: the frame folder `source` to the new folder `partial`."""
    paths = frame.stored_pictures(source, "frame", num_frames)
    stream = FlowStream(algorithm)
    # JPEG stores gray by itself: decoding that alone takes half the time.
    grays = (frame.read_stored(path, cv2.IMREAD_GRAYSCALE) for path in paths)
    write_flow(partial, (stream.next(gray) for gray in grays))


def show(dataset, folder):
    """Writes one contact sheet per sign into `folder`: frames above their coloured flow."""
    clips = dataset.stored_clips("flow")
    videos = {} if dataset.stored else {clip.place(): clip.path for clip in dataset.videos()}
    names = {sign.label: sign.name for sign in dataset.signs(clip.label for clip in clips)}
    folder.mkdir(parents=True, exist_ok=True)
    first_of_sign = {clip.label: clip for clip in reversed(clips)}
    for label, clip in sorted(first_of_sign.items()):
        frames = frame.load_frames(dataset.frame_dir / clip.place())
        flow = restore_flow(load_flow(clip.path))
        video = videos.get(clip.place())
        path = folder / f"{label}_{clip.name}.png"
        title = f"{names[label]} ({clip.place().as_posix()})"
        plot_sheet(path, title, frames, flow, frame.seconds_of(video) if video else None)
        print(path)


def plot_sheet(path, title, frames, flow, seconds=None):
    """Writes a picture: `SHOWN_FRAMES` frames above their coloured flow, and what its colours mean.

    Args:
        path: of the picture.
        title: what is shown.
        frames: uint8 BGR `(num_frames, height, width, 3)`.
        flow: of `frames_to_flow`.
        seconds: length of the clip; None: moments are told by the number of their frame.
    """
    picked = sample_indices(len(frames), min(SHOWN_FRAMES, len(frames)))
    size = ((len(picked) + 1) * SHOWN_WIDTH, 2 * SHOWN_WIDTH * frames.shape[1] / frames.shape[2])
    figure = make_figure(size[0], size[1] + 0.6)
    axes = figure.subplots(2, len(picked) + 1)
    for axis in axes.flat:
        axis.axis("off")
    for column, number in zip(axes.T, picked, strict=False):
        column[0].imshow(frames[number][..., ::-1])
        column[1].imshow(flow_to_color(flow[number])[..., ::-1])
        moment = f"frame {number}" if seconds is None else f"{number * seconds / len(frames):.1f} s"
        column[0].set_title(moment, fontsize=9)
    axes[1, -1].imshow(flow_wheel(WHEEL_WIDTH)[..., ::-1])
    axes[1, -1].set_title("colour: direction\nwhite: rest", fontsize=8)
    figure.suptitle(writable(title))
    figure.savefig(path, dpi=100)


def contact_sheet(frames, flow):
    """A row of `SHOWN_FRAMES` frames above a row of their coloured flow, uint8 BGR."""
    picked = sample_indices(len(frames), min(SHOWN_FRAMES, len(frames)))
    return np.vstack(
        [
            np.hstack([frames[i] for i in picked]),
            np.hstack([flow_to_color(flow[i]) for i in picked]),
        ]
    )


def flow_wheel(width):
    """The colour of each direction of motion, uint8 BGR `(width, width, 3)`."""
    axis = np.linspace(-1, 1, width)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1) * FLOW_OF_FULL_COLOR
    flow[np.hypot(flow[..., 0], flow[..., 1]) > FLOW_OF_FULL_COLOR] = 0
    return flow_to_color(flow)


@functools.cache
def _color_wheel():
    """BGR in 0..1, `(55, 3)`: red, yellow, green, cyan, blue, magenta in perceptual steps."""
    corners_rgb = [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)]
    steps = [15, 6, 4, 11, 13, 6]
    rows = [
        np.linspace(start, stop, count, endpoint=False)
        for start, stop, count in zip(corners_rgb[:-1], corners_rgb[1:], steps, strict=True)
    ]
    return np.concatenate(rows)[:, ::-1]


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {**data.OPTIONS, **stage.OPTIONS, **connection.OPTIONS})
    parser.add_argument(
        "--algorithm", choices=ALGORITHMS, default="tvl1", help="flow method (default: tvl1)"
    )
    parser.add_argument(
        "--show",
        type=Path,
        metavar="DIR",
        help="write a contact sheet of one stored clip per sign into DIR, and compute nothing",
    )
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset, args.preset, stored=args.stored)
    if args.show:
        return show(dataset, args.show)
    with connection.used(args.cluster):
        status = extract_flow(dataset, args.algorithm, args.workers, args.rebuild).exit_status
    print(f"Next: python train_i3d.py {dataset.flags()}")
    return status


if __name__ == "__main__":
    command_line.run(main)
