"""One articulated toy signer: proportions, looks, and where the arms are.

Imported by toysigns.py, whose docstring lists all ranges. Coordinates are toy/gesture.py's: origin
between the shoulders, x right, y down, z towards the camera, pixels of a 240×320 picture.
"""

import dataclasses

import numpy as np

from toy import scene

RANGES = {  # lengths in px, where not said otherwise
    "shoulder_px": (31, 38),  # half the width
    "hip_px": (25, 33),  # half the width
    "torso_px": (96, 110),
    "neck_px": (9, 14),
    "head_width_px": (17.5, 21),  # half
    "head_aspect": (1.2, 1.32),  # height by width
    "upper_arm_px": (49, 55),
    "forearm_px": (47, 53),
    "arm_radius_px": (7.0, 9.5),
    "hand_px": (10.0, 11.5),  # half the length of the palm
    "speed": (0.9, 1.1),  # of 1
    "amplitude": (0.95, 1.05),  # of 1
}
RIGHT_HANDED_SHARE = 0.75
SKINS_BGR = (
    (205, 222, 246),
    (178, 202, 238),
    (150, 180, 226),
    (120, 155, 210),
    (96, 130, 188),
    (72, 102, 158),
    (54, 78, 124),
    (40, 58, 94),
)
HAIRS_BGR = ((28, 26, 30), (30, 42, 62), (38, 64, 104), (70, 130, 185), (40, 70, 150), (170,) * 3)
HAIR_STYLES = ("short", "long", "bun", "bald", "curly")
PATTERNS = ("plain", "plain", "stripes", "buttons", "bib")
MIN_CONTRAST = 200  # between shirt and skin, sum of three gray-level differences
GLASSES_SHARE, BEARD_SHARE, LONG_SLEEVE_SHARE = 0.25, 0.2, 0.5

ELBOW_POLE = np.array([0.75, 0.6, -0.4])  # outwards, down, away from the camera
MAX_STRETCH = 0.985  # of the arm's length


@dataclasses.dataclass(frozen=True)
class Signer:
    """Lengths are in pixels; colours BGR; `main_hand` is 0 (left of the picture) or 1."""

    shoulder_px: float
    hip_px: float
    torso_px: float
    neck_px: float
    head_width_px: float
    head_aspect: float
    upper_arm_px: float
    forearm_px: float
    arm_radius_px: float
    hand_px: float
    speed: float
    amplitude: float
    main_hand: int
    skin: tuple
    hair: tuple
    shirt: tuple
    accent: tuple
    trousers: tuple
    hair_style: str
    pattern: str
    glasses: bool
    beard: bool
    long_sleeves: bool

    @property
    def head_height_px(self):
        return self.head_width_px * self.head_aspect

    @property
    def head_y_px(self):
        return -8 - self.neck_px - self.head_height_px

    def shoulders(self):
        """`(2, 3)`: the two shoulder joints."""
        return np.array([[-self.shoulder_px, 4.0, 0.0], [self.shoulder_px, 4.0, 0.0]])

    def hands_at_rest(self):
        """`(2, 3)`: wrists beside the hips."""
        down = 0.975 * (self.upper_arm_px + self.forearm_px)
        return self.shoulders() + [[-9.0, down, 6.0], [9.0, down, 6.0]]


def invent_signer(rng):
    """A `Signer` made with `rng`, a `random.Random`."""
    skin = rng.choice(SKINS_BGR)
    return Signer(
        **{name: rng.uniform(*low_high) for name, low_high in RANGES.items()},
        main_hand=0 if rng.random() < RIGHT_HANDED_SHARE else 1,
        skin=skin,
        hair=rng.choice(HAIRS_BGR),
        shirt=_shirt_colour(skin, rng),
        accent=scene.random_colour(rng, saturation=(0.1, 0.7), value=(0.3, 0.95)),
        trousers=scene.random_colour(rng, saturation=(0.1, 0.5), value=(0.15, 0.45)),
        hair_style=rng.choice(HAIR_STYLES),
        pattern=rng.choice(PATTERNS),
        glasses=rng.random() < GLASSES_SHARE,
        beard=rng.random() < BEARD_SHARE,
        long_sleeves=rng.random() < LONG_SLEEVE_SHARE,
    )


def _shirt_colour(skin, rng):
    """A colour that the hands stand out from."""
    while True:
        shirt = scene.random_colour(rng, saturation=(0.25, 0.8), value=(0.3, 0.9))
        if np.abs(np.subtract(shirt, skin)).sum() >= MIN_CONTRAST:
            return shirt


def arm_joints(signer, wrists):
    """Two-bone inverse kinematics: shoulders, elbows and wrists that reach for `wrists`.

    Args:
        wrists: `(num_frames, 2, 3)`, where the hands should be.

    Returns:
        `(num_frames, 2, 3, 3)`: shoulder, elbow, wrist of hand 0 and hand 1. What is out of reach
        is approached as far as the arm goes.
    """
    upper, fore = signer.upper_arm_px, signer.forearm_px
    shoulders = np.broadcast_to(signer.shoulders(), wrists.shape)
    distance = np.linalg.norm(wrists - shoulders, axis=-1, keepdims=True)
    towards = (wrists - shoulders) / distance
    distance = np.clip(distance, 1.2 * abs(upper - fore) + 8, MAX_STRETCH * (upper + fore))
    along = (upper**2 - fore**2 + distance**2) / (2 * distance)
    pole = ELBOW_POLE * np.array([[-1, 1, 1], [1, 1, 1]])
    aside = pole - (pole * towards).sum(-1, keepdims=True) * towards
    aside /= np.linalg.norm(aside, axis=-1, keepdims=True)
    elbows = shoulders + along * towards + np.sqrt(upper**2 - along**2) * aside
    return np.stack([shoulders, elbows, shoulders + distance * towards], axis=2)
