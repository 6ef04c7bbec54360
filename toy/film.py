"""Films an invented sign: straight to the frames that are stored, with all that cameras do.

frames, targets = film(sign_seed, person_seed, clip_seed, num_frames, frame_size)
"""

import dataclasses
import math
import random

import cv2
import numpy as np

from toy import gesture, performance, scene, signer
from toy import variation as vary
from toy.drawing import HandPose, draw_depth, draw_signer, hand_direction
from toy.gesture import noise
from toy.performance import GRID_HZ
from toy.program import pick

OVERSIZE = 2  # pictures are drawn so many times as large as they are stored
UNIT_PX = 34.0  # targets are in half shoulder widths of the average signer
LOWEST = 2.5  # in the same unit: hands below are out of the picture, wherever they are
NUM_TARGETS = 2 * (2 + 2 + 6)


def render_clip(sign, signer_seed, clip_seed):
    """Draws one clip.

    Args:
        sign: one of `gesture.SIGNS`.
        signer_seed: number or text; who performs.
        clip_seed: number or text; how it is performed, and where.

    Returns:
        colour, uint8 BGR `(num_frames, 240, 320, 3)`, and depth, uint8 `(num_frames, 240, 320)`,
        lighter where nearer; 40 to 50 frames, `scene.FRAMES_PER_SECOND`.
    """
    person = signer.invent_signer(random.Random(signer_seed))
    rng = random.Random(clip_seed)
    motion = gesture.perform(sign, person, rng)
    joints = signer.arm_joints(person, motion.wrists)
    camera = scene.place_camera(len(joints), rng)
    wall = scene.paint_background(rng)
    drawing = np.empty_like(wall)
    size = (scene.WIDTH_PX, scene.HEIGHT_PX)
    colour = np.empty((len(joints), *size[::-1], 3), np.uint8)
    depth = np.empty((len(joints), *size[::-1]), np.uint8)
    depth[:] = scene.depth_wall()
    for frame, (arms, sway, tilt) in enumerate(
        zip(joints, motion.sway, motion.head_tilt, strict=True)
    ):
        np.copyto(drawing, wall)
        origin, zoom = camera.origin + camera.scale * sway, scene.SUPERSAMPLING
        canvas = scene.Canvas(drawing, zoom * origin, zoom * camera.scale)
        draw_signer(canvas, person, arms, tilt)
        picture = cv2.resize(drawing, size, interpolation=cv2.INTER_AREA)
        colour[frame] = camera.develop(picture, frame)
        canvas = scene.Canvas(depth[frame], origin, camera.scale)
        draw_depth(canvas, person, arms, tilt)
    return colour, depth


def film(sign_seed, person_seed, clip_seed, num_frames, frame_size):
    """One clip of one invented sign.

    Args:
        sign_seed, person_seed, clip_seed: numbers or texts: which sign, who, how and where.
        num_frames: of the clip, which is picked from the film as `frame.py` does.
        frame_size: (height, width) in pixels.

    Returns:
        uint8 BGR `(num_frames, height, width, 3)`, and float32 `(num_frames, NUM_TARGETS)`: what
        both hands do, see `hand_targets`.
    """
    person = performance.invent_person(person_seed)
    rng = random.Random(clip_seed)
    played = performance.perform(performance.invent(sign_seed), person, rng)
    seconds, picked = _when(played, num_frames, rng)
    rows = _rows(seconds, played)
    joints = signer.arm_joints(person, played.wrists[rows])
    targets = hand_targets(person, joints, played, rows)
    pictures = _Set(played, person, seconds, frame_size, rng).pictures()
    return np.stack(pictures)[picked], targets[picked]


def hand_targets(person, joints, played, rows):
    """What both hands do in some steps of a performance, seen from the body.

    Returns:
        float32 `(steps, NUM_TARGETS)`: for each hand (x, y) of the wrist in `UNIT_PX`, (x, y) of
        the unit vector along the hand, and its shape, see `program.SHAPES`.
    """
    wrists = joints[:, :, 2, :2] / UNIT_PX
    wrists[..., 1] = np.minimum(wrists[..., 1], LOWEST)
    along = [
        [hand_direction(person, arm, bend) for arm, bend in zip(arms, bends, strict=True)]
        for arms, bends in zip(joints, played.bends[rows], strict=True)
    ]
    targets = np.concatenate([wrists, np.array(along), played.shapes[rows]], axis=2)
    return targets.reshape(len(rows), NUM_TARGETS).astype(np.float32)


def _when(played, num_frames, rng):
    """(seconds of the frames that are used, which of them each stored frame is)."""
    rate = pick(vary.FRAME_RATES, rng)
    start, stop = played.start / GRID_HZ, played.stop / GRID_HZ
    available = max(vary.FEWEST_FRAMES, int((stop - start) * rate))
    used, picked = np.unique(np.arange(num_frames) * available // num_frames, return_inverse=True)
    return start + used / rate, picked


def _rows(seconds, played):
    return np.minimum((seconds * GRID_HZ).astype(int), len(played.head_tilt) - 1)


@dataclasses.dataclass(frozen=True)
class _Light:
    """What a camera makes of a picture."""

    gains: np.ndarray  # (frames, 3)
    gamma: float
    noise_std: float
    generator: np.random.Generator

    @classmethod
    def invent(cls, num_frames, rng):
        generator = np.random.default_rng(rng.getrandbits(64))
        tint = [rng.uniform(*vary.TINT) for _ in "bgr"]
        flicker = rng.uniform(*vary.FLICKER) * generator.uniform(-1, 1, (num_frames, 1))
        gains = rng.uniform(*vary.GAIN) * np.array(tint) * (1 + flicker)
        return cls(gains, rng.uniform(*vary.GAMMA), rng.uniform(*vary.NOISE_STD), generator)

    def develop(self, picture, frame):
        """Uint8 `(height, width, 3)` to the same."""
        levels = 255 * np.linspace(0, 1, 256) ** self.gamma
        seen = self.noise_std * self.generator.standard_normal(picture.shape, dtype=np.float32)
        for channel, gain in enumerate(self.gains[frame]):
            seen[..., channel] += (gain * levels).astype(np.float32)[picture[..., channel]]
        return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


class _Set:
    """Signer, camera, wall and what else is to be seen in one clip."""

    def __init__(self, played, person, seconds, frame_size, rng):
        self.played, self.person = played, person
        self.seconds, self.frame_size = seconds, frame_size
        height, width = (OVERSIZE * side for side in frame_size)
        self.zoom = height / scene.HEIGHT_PX
        self.wall = cv2.resize(_wall(person, rng), (width, height), interpolation=cv2.INTER_AREA)
        self.scale, self.origin = self._stand(width / self.zoom, rng)
        shake = vary.SHAKY_PX if rng.random() < vary.SHAKY_SHARE else vary.STEADY_PX
        self.shake = noise(seconds, shake, vary.SHAKE_HZ, rng)
        self.exposure = rng.uniform(*vary.EXPOSURE_SECONDS)
        self.light = _Light.invent(len(seconds), rng)
        self.desk = None
        if rng.random() < vary.DESK_SHARE:
            colour = scene.random_colour(rng, saturation=(0.1, 0.6), value=(0.2, 0.9))
            self.desk = round(self.zoom * rng.uniform(*vary.DESK_TOP_PX)), colour
        self.passer_by = None
        if rng.random() < vary.PASSER_BY_SHARE:
            self.passer_by = _PasserBy(seconds, width / self.zoom, rng)

    def pictures(self):
        """List of uint8 BGR pictures of `frame_size`."""
        return [self._picture(frame, moment) for frame, moment in enumerate(self.seconds)]

    def _picture(self, frame, moment):
        first, second = (
            self._draw(frame, time) for time in (moment, moment + self.exposure)
        )  # of a shutter that is open for a while
        picture = cv2.addWeighted(first, 0.5, second, 0.5, 0)
        if self.desk:
            picture[self.desk[0] :] = self.desk[1]
        size = self.frame_size[::-1]
        return self.light.develop(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), frame)

    def _draw(self, frame, moment):
        row = _rows(np.array([moment]), self.played)[0]
        picture = self.wall.copy()
        if self.passer_by:
            self.passer_by.draw(picture, moment, self.zoom)
        where = self.origin + self.scale * self.played.sway[row] + self.shake[frame]
        canvas = scene.Canvas(picture, self.zoom * where, self.zoom * self.scale)
        hip = self.person.hip_px
        legs = [(-hip - 3, 150), (hip + 3, 150), (hip + 6, 420), (-hip - 6, 420)]
        canvas.polygon(legs, self.person.trousers)
        joints = signer.arm_joints(self.person, self.played.wrists[row][None])[0]
        hands = [
            HandPose(shape[:5], shape[5], bend, turn)
            for shape, bend, turn in zip(
                self.played.shapes[row],
                self.played.bends[row],
                self.played.turns[row],
                strict=True,
            )
        ]
        draw_signer(canvas, self.person, joints, self.played.head_tilt[row], hands)
        return picture

    def _stand(self, width_px, rng):
        """(scale, origin) of the camera: mostly so near that the hands are in view."""
        scale = math.exp(rng.uniform(*np.log(vary.SCALE)))
        top = self.person.head_y_px - self.person.head_height_px - 6
        head_top = rng.uniform(*vary.HEAD_TOP_PX)
        if rng.random() < vary.HANDS_IN_VIEW_SHARE:
            room = scene.HEIGHT_PX - 8 - head_top
            scale = min(scale, max(0.75, room / (self.played.lowest_px - top)))
        middle = width_px / 2 + rng.gauss(0, vary.OFF_CENTRE_STD_PX)
        return scale, np.array([middle, head_top - scale * top])


class _PasserBy:
    """Somebody who walks past behind the signer."""

    def __init__(self, seconds, width_px, rng):
        self.person = performance.invent_person(rng.getrandbits(64))
        self.scale = rng.uniform(0.6, 1.3)
        self.y = rng.uniform(40, 110)
        self.start = rng.uniform(seconds[0] - 1, seconds[-1])
        self.speed = rng.choice((-1, 1)) * width_px / rng.uniform(*vary.PASSER_BY_SECONDS)
        self.width_px = width_px

    def draw(self, picture, moment, zoom):
        begin = -80 if self.speed > 0 else self.width_px + 80
        x = begin + self.speed * (moment - self.start)
        if not -100 < x < self.width_px + 100:
            return
        canvas = scene.Canvas(picture, (zoom * x, zoom * self.y), zoom * self.scale)
        joints = signer.arm_joints(self.person, self.person.hands_at_rest()[None])[0]
        draw_signer(canvas, self.person, joints, 0.0)


def _wall(person, rng):
    """A wall of any size, uint8 BGR."""
    wall = scene.paint_background(rng)
    if rng.random() < vary.PLAIN_WALL_SHARE:
        colour = scene.random_colour(rng, saturation=(0, 0.25), value=(0.2, 1.0))
        if rng.random() < vary.WALL_LIKE_PERSON_SHARE:
            near = rng.choice((person.skin, person.shirt))
            colour = [min(255, max(0, channel + rng.uniform(-25, 25))) for channel in near]
        wall[:] = colour
    return wall
