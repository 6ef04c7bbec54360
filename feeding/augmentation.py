"""Strong augmentation: another camera, another pace, another light, the flow changed with them.

inputs, times = vary(stream, clip, 56, 56, np.random.default_rng(0))
"""

import math

import cv2
import numpy as np

from common.network_input import CHANNELS, HALF_RANGE, restore_flow

AUGMENTATIONS = ("none", "weak", "strong")  # of training clips; what is here is the strong one
# Natural logarithms of factors that are equally likely.
ZOOM, STRETCH, RATE, GAIN, TINT = 0.25, 0.08, 0.3, 0.4, 0.15
TURN_DEGREES = 6
MOVED_SHARE = 0.12  # of the picture, in each direction
TIME_SHIFT_SHARE, TIME_BEND_SHARE = 0.12, 0.05  # of the clip
GRAY_SHARE, BRIGHTNESS = 0.15, 0.2  # of clips; of [-1, 1]
FLOW_NOISE = 0.008  # standard deviation, of [-1, 1]
NO_MOTION = round(HALF_RANGE)  # the code of a flow of 0


def vary(stream, clip, height, width, random):
    """What a network sees of a clip, as if another camera had filmed a slightly other performance.

    Args:
        stream: "rgb" or "flow".
        clip: uint8 frames or flow codes, `(num_frames, frame_height, frame_width, channels)`.
        height, width: what the network sees, in pixels.
        random: `numpy.random.Generator`.

    Returns:
        float32 `(num_frames, height, width, channels)` in [-1, 1], as of `network_input`, and int
        `(num_frames,)`: which stored frame each one is.
    """
    times, speed = warp_time(len(clip), random)
    matrix = _another_camera(clip.shape[1:3], (height, width), random)
    to_input = {"rgb": _rgb, "flow": _flow}[stream]
    return to_input(clip, times, speed, matrix, (height, width), random), times


def warp_time(num_frames, random):
    """Another pace, begun earlier or later.

    Returns:
        int `(num_frames,)`: which frame is shown when; float `(num_frames,)`: how much faster.
    """
    middle = (num_frames - 1) / 2
    rate = math.exp(random.uniform(-RATE, RATE))
    shift = random.uniform(-TIME_SHIFT_SHARE, TIME_SHIFT_SHARE) * num_frames
    bend = random.uniform(0, TIME_BEND_SHARE) * num_frames
    wave = np.sin(2 * math.pi * (np.arange(num_frames) / num_frames + random.random()))
    position = (np.arange(num_frames) - middle) * rate + bend * wave + middle + shift
    speed = np.maximum(np.gradient(position), 0)
    speed[(position < 0) | (position > num_frames - 1)] = 0  # the clip stands still there
    return np.clip(np.rint(position), 0, num_frames - 1).astype(int), speed


def _another_camera(frame_size, size, random):
    """The 2x3 matrix from pixels of a frame to pixels of what the network sees."""
    zoom = math.exp(random.uniform(-ZOOM, ZOOM))
    stretch = math.exp(random.uniform(-STRETCH, STRETCH) / 2)
    angle = math.radians(random.uniform(-TURN_DEGREES, TURN_DEGREES))
    cosine, sine = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([stretch, 1 / stretch])
    moved = random.uniform(-MOVED_SHARE, MOVED_SHARE, 2) * min(size)
    centre = np.array([frame_size[1] - 1, frame_size[0] - 1]) / 2 + moved
    target = np.array([size[1] - 1, size[0] - 1]) / 2
    return np.column_stack([turn, target - turn @ centre])


def _warped(clip, times, matrix, size, **border):
    shape = (len(times), *size, clip.shape[3])
    warped = np.empty(shape, np.uint8)
    for frame in np.unique(times):
        picture = cv2.warpAffine(clip[frame], matrix, size[::-1], flags=cv2.INTER_LINEAR, **border)
        warped[times == frame] = picture
    return warped


def _rgb(clip, times, _speed, matrix, size, random):
    warped = _warped(clip, times, matrix, size, borderMode=cv2.BORDER_REPLICATE)[..., ::-1]
    if random.random() < GRAY_SHARE:
        gray = warped.mean(axis=-1, keepdims=True).astype(np.uint8)
        warped = np.broadcast_to(gray, warped.shape)
    levels = np.arange(256, dtype=np.float32) / HALF_RANGE - 1
    brightness = random.uniform(-BRIGHTNESS, BRIGHTNESS)
    gains = math.exp(random.uniform(-GAIN, GAIN)) * np.exp(random.uniform(-TINT, TINT, 3))
    seen = np.empty(warped.shape, np.float32)
    for channel, gain in enumerate(gains):
        table = np.clip(levels * gain + brightness, -1, 1).astype(np.float32)
        seen[..., channel] = table[warped[..., channel]]
    return seen


def _flow(clip, times, speed, matrix, size, random):
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (NO_MOTION,) * CHANNELS["flow"]}
    flow = restore_flow(_warped(clip, times, matrix, size, **border))
    flow = flow @ matrix[:, :2].T.astype(np.float32)
    flow *= speed[:, None, None, None].astype(np.float32)
    strength = np.float32(random.uniform(0, FLOW_NOISE))
    flow += strength * random.standard_normal(flow.shape, dtype=np.float32)
    return np.clip(flow, -1, 1)
