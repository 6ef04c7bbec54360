"""What storing flow as gray JPEGs costs in accuracy and disk.

    python -m benchmarks.storage [CLIP ...]

Flow of real clips (../shared/data/ksl where it is there, else drawn ones) is stored at several
qualities and read again. The error is the mean of |dx| and |dy| that storing changes, in pixels.
"""

from pathlib import Path

import cv2
import numpy as np

import opticalflow
from benchmarks import real_clips
from common import command_line
from common.network_input import quantise_flow, restore_flow
from common.video import read_clip, sample_indices

NUM_CLIPS = 8
QUALITIES = (80, 85, 90, 95, 97, 100)
WANTED_ERROR_PX = 0.08
FORMATS = {f"JPEG {quality}": (".jpg", quality) for quality in QUALITIES} | {"PNG": (".png", 0)}


def default_clips():
    """A few frames of each of `NUM_CLIPS` clips, uint8 BGR at the size of the preset `full`."""
    if real := real_clips():
        picked = [real[i] for i in sample_indices(len(real), NUM_CLIPS)]
        return [read_clip(path, 40, 240, 320)[14:22] for path in picked]
    import toysigns

    names = [sign.name for sign in toysigns.signs()]
    clips = [toysigns.render_clip(name, "signer", "clip")[0] for name in names]
    return [clip[sample_indices(len(clip), 40)][14:22] for clip in clips]


def store(codes, suffix, quality):
    """(bytes, what is read again) of one stored flow, uint8 `(height, width, 2)`."""
    image = np.concatenate([codes[..., 0], codes[..., 1]])
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    encoded = cv2.imencode(suffix, image, settings)[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    return encoded.nbytes, np.stack(np.split(decoded, 2), axis=-1)


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="videos to use instead")
    args = parser.parse_args(argv)
    clips = [read_clip(path, 40, 240, 320)[14:22] for path in args.clips] or default_clips()
    flows = np.concatenate([opticalflow.frames_to_flow(clip)[1:] for clip in clips])
    print(f"{len(flows)} flows of {flows.shape[1]}x{flows.shape[2]}")
    print(f"{'format':10}{'kB a flow':>10}{'error, px':>11}{'wanted':>8}")
    for name, (suffix, quality) in FORMATS.items():
        sizes, restored = zip(
            *(store(codes, suffix, quality) for codes in quantise_flow(flows)), strict=True
        )
        error = np.abs(restore_flow(np.stack(restored)) - flows).mean() * opticalflow.FLOW_BOUND_PX
        used = " <- used" if name == f"JPEG {opticalflow.FLOW_JPEG_QUALITY}" else ""
        print(f"{name:10}{np.mean(sizes) / 1000:10.1f}{error:11.3f}{WANTED_ERROR_PX:8.2f}{used}")


if __name__ == "__main__":
    command_line.run(main)
