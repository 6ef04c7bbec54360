"""From frames and flow, stored or live, to what a network sees. The one place where that happens.

Training, prediction and the live demo all call these functions. Nothing here imports Keras.
"""

import numpy as np

CHANNELS = {"rgb": 3, "flow": 2}  # of each stream
STREAMS = tuple(CHANNELS)
HALF_RANGE = 127.5  # uint8 0..255 <-> -1..1
FLOW_BOUND_PX = 20.0  # a flow of 1: what moves faster is taken for so fast


def stream_input(stream, clip, height, width, **settings):
    """`rgb_input` or `flow_input`, whichever the stream "rgb" or "flow" is fed with."""
    to_input = {"rgb": rgb_input, "flow": flow_input}[stream]
    return to_input(clip, height, width, **settings)


def rgb_input(frames, height, width, offset=(0, 0), brightness=0.0, flip=False):
    """What the RGB network sees.

    Args:
        frames: uint8 BGR, `(num_frames, frame_height, frame_width, 3)`.
        height, width: of the crop, in pixels.
        offset: (down, right) of the crop from the centre, in pixels (augmentation).
        brightness: added to every value after scaling (augmentation).
        flip: mirror left and right (augmentation).

    Returns:
        float32 RGB in [-1, 1], `(num_frames, height, width, 3)`.

    Raises:
        ValueError: `frames` has another dtype or shape, or is smaller than the crop.
    """
    _check(frames, CHANNELS["rgb"], np.uint8)
    rgb = crop(frames, height, width, offset)[..., ::-1]
    rgb = rgb * np.float32(1 / HALF_RANGE) - np.float32(1)
    rgb = mirrored("rgb", rgb) if flip else rgb
    return np.clip(rgb + np.float32(brightness), -1, 1) if brightness else rgb


def flow_input(flow, height, width, offset=(0, 0), flip=False):
    """What the flow network sees: flow on the 256 levels that it is stored with.

    Args:
        flow: float32 (dx, dy) in [-1, 1], or the uint8 codes of `quantise_flow`,
            `(num_frames, frame_height, frame_width, 2)`.
        height, width, offset, flip: as in `rgb_input`; a mirrored dx changes its sign.

    Returns:
        float32 (dx, dy) in [-1, 1], `(num_frames, height, width, 2)`.

    Raises:
        ValueError: `flow` has another dtype or shape, or is smaller than the crop.
    """
    _check(flow, CHANNELS["flow"], np.uint8, np.float32)
    flow = crop(flow, height, width, offset)
    flow = restore_flow(flow if flow.dtype == np.uint8 else quantise_flow(flow))
    return mirrored("flow", flow) if flip else flow


def mirrored(stream, clip):
    """What a network sees of a clip, `(num_frames, height, width, channels)`, left for right."""
    flipped = clip[:, :, ::-1]
    return flipped * np.array([-1, 1], np.float32) if stream == "flow" else flipped


def quantise_flow(flow):
    """`round((flow + 1) * 127.5)`: float in [-1, 1] to uint8, any shape."""
    codes = flow + np.float32(1)
    codes *= np.float32(HALF_RANGE)
    return np.rint(codes, out=codes).astype(np.uint8)


def restore_flow(codes):
    """The inverse of `quantise_flow`: uint8 to float32 in [-1, 1], any shape."""
    return codes * np.float32(1 / HALF_RANGE) - np.float32(1)


def crop(clip, height, width, offset=(0, 0)):
    """The centre of every frame, moved by `offset`, kept inside the frame; a view.

    Args:
        clip: `(num_frames, frame_height, frame_width, channels)`.
        height, width: of the crop, in pixels.
        offset: (down, right), in pixels.

    Returns:
        `(num_frames, height, width, channels)`.

    Raises:
        ValueError: the frames are smaller than the crop.
    """
    frame_height, frame_width = clip.shape[1:3]
    if frame_height < height or frame_width < width:
        raise ValueError(
            f"The network sees {height}x{width} pixels; the frames have only "
            f"{frame_height}x{frame_width}."
        )
    top = min(max((frame_height - height) // 2 + offset[0], 0), frame_height - height)
    left = min(max((frame_width - width) // 2 + offset[1], 0), frame_width - width)
    return clip[:, top : top + height, left : left + width]


def _check(clip, channels, *dtypes):
    if clip.ndim != 4 or clip.shape[3] != channels or clip.dtype not in dtypes:
        raise ValueError(
            f"Expected (num_frames, height, width, {channels}) of "
            f"{' or '.join(np.dtype(dtype).name for dtype in dtypes)}. "
            f"Received: {clip.shape} of {clip.dtype}"
        )
