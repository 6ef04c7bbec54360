"""One articulated toy signer: invents proportions and looks, and draws the signer in one pose.

Imported by toysigns.py, whose docstring lists all ranges. Coordinates are gesture.py's: origin
between the shoulders, x right, y down, z towards the camera, pixels of a 240×320 picture.
"""

import dataclasses

import numpy as np

import scene

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
FINGERS = np.array([(1.55, -0.72), (1.8, -0.26), (1.82, 0.24), (1.6, 0.7), (0.75, 1.2)])
DEPTH_BODY, DEPTH_PER_PX = 120, 1.6  # gray level of the chest, and per pixel towards the camera


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


def draw_signer(canvas, signer, joints, head_tilt):
    """Draws the signer on a `Canvas`: hair behind, torso, head, then the arms in front.

    Args:
        joints: `(2, 3, 3)`, one frame of `arm_joints`.
        head_tilt: degrees.
    """
    head = canvas.turned(head_tilt, about=(0, -8))
    _draw_back_hair(head, signer)
    _draw_torso(canvas, signer)
    _draw_head(head, signer)
    for arm in sorted(joints, key=lambda arm: arm[2][2]):
        _draw_arm(canvas, signer, arm)


def draw_depth(canvas, signer, joints, head_tilt):
    """The same as `draw_signer` in gray on a one-channel `Canvas`: the nearer, the lighter."""
    canvas.polygon(_torso_outline(signer), DEPTH_BODY)
    head = canvas.turned(head_tilt, about=(0, -8))
    head.limb((0, signer.head_y_px), (0, 4), 8, 9, DEPTH_BODY - 6)
    axes = (signer.head_width_px + 2, signer.head_height_px + 3)
    head.ellipse((0, signer.head_y_px), axes, DEPTH_BODY + 8)
    radius = signer.arm_radius_px
    for arm in sorted(joints, key=lambda arm: arm[2][2]):
        shoulder, elbow, wrist = arm[:, :2]
        gray = DEPTH_BODY + DEPTH_PER_PX * arm[:, 2]
        canvas.limb(shoulder, elbow, radius + 1, radius, (gray[0] + gray[1]) / 2)
        canvas.limb(elbow, wrist, radius, 0.75 * radius, (gray[1] + gray[2]) / 2)
        fingertips = wrist + 1.6 * signer.hand_px * _hand_direction(signer, arm)
        canvas.limb(wrist, fingertips, 0.75 * radius, 0.75 * radius, gray[2])


def _shade(colour, factor):
    return tuple(min(255, round(channel * factor)) for channel in colour)


def _torso_outline(signer):
    shoulder, hip = signer.shoulder_px, signer.hip_px
    half = [(8, -10), (14, -7), (shoulder - 4, -4), (shoulder + 5, 2), (shoulder + 6, 12)]
    half += [(shoulder, 34), (0.5 * (shoulder + hip) - 2, 66), (hip + 1, signer.torso_px)]
    half += [(hip + 2, 160)]
    return half + [(-x, y) for x, y in reversed(half)]


def _draw_torso(canvas, signer):
    outline = np.array(_torso_outline(signer))
    canvas.polygon(outline * (1.03, 1), _shade(signer.shirt, 0.55))
    canvas.polygon(outline, _shade(signer.shirt, 0.8))
    canvas.polygon(outline * (0.8, 1), signer.shirt)
    hip = signer.hip_px
    bottom = [
        (-hip - 2, signer.torso_px),
        (hip + 2, signer.torso_px),
        (hip + 3, 165),
        (-hip - 3, 165),
    ]
    canvas.polygon(bottom, signer.trousers)
    _draw_pattern(canvas, signer)
    canvas.ellipse((0, -9), (10, 7), _shade(signer.shirt, 0.6))
    canvas.limb((0, -8 - signer.neck_px), (0, -8), 7.5, 8, _shade(signer.skin, 0.8))


def _draw_pattern(canvas, signer):
    shoulder = signer.shoulder_px
    if signer.pattern == "stripes":
        for top in np.arange(16, signer.torso_px - 6, 18):
            half = shoulder - 1 - (0.12 * top)
            canvas.polygon(
                [(-half, top), (half, top), (half, top + 7), (-half, top + 7)], signer.accent
            )
    elif signer.pattern == "buttons":
        canvas.lines([[(0, -2), (0, signer.torso_px)]], 1, _shade(signer.shirt, 0.6))
        for y in np.arange(10, signer.torso_px, 20):
            canvas.disc((0, y), 1.8, signer.accent)
    elif signer.pattern == "bib":
        half = 0.55 * shoulder
        canvas.polygon([(-half, 26), (half, 26), (half, 60), (-half, 60)], signer.accent)


def _draw_back_hair(head, signer):
    y, width, height = signer.head_y_px, signer.head_width_px, signer.head_height_px
    dark = _shade(signer.hair, 0.75)
    if signer.hair_style == "long":
        head.limb((0, y), (0, y + 1.25 * height), width + 5, width + 3, dark)
    elif signer.hair_style == "bun":
        head.disc((0, y - height - 4), 0.5 * width, signer.hair)
    elif signer.hair_style == "curly":
        for degrees in range(150, 400, 24):
            turn = np.radians(degrees)
            place = (1.02 * width * np.cos(turn), y + 0.92 * height * np.sin(turn))
            head.disc(place, 0.42 * width, dark if degrees % 48 else signer.hair)


def _draw_head(head, signer):
    y, width, height = signer.head_y_px, signer.head_width_px, signer.head_height_px
    skin = signer.skin
    for side in (-1, 1):
        head.ellipse((side * width, y + 1), (3.2, 5), _shade(skin, 0.8))
    head.ellipse((0, y), (width + 0.8, height + 0.8), _shade(skin, 0.6))
    head.ellipse((0, y), (width, height), skin)
    if signer.beard:
        head.ellipse((0, y), (width, height), signer.hair, 25, 155)
        head.ellipse((0, y + 0.38 * height), (0.5 * width, 0.22 * height), skin)
    if signer.hair_style != "bald":
        head.ellipse((0, y - 1), (width + 1.5, height + 2.5), signer.hair, 200, 340)
        head.ellipse((0, y - 0.38 * height), (0.92 * width, 0.28 * height), skin, 0, 180)
    _draw_face(head, signer, y)


def _draw_face(head, signer, y):
    width, height, skin = signer.head_width_px, signer.head_height_px, signer.skin
    eyes = [(side * 0.42 * width, y - 0.06 * height) for side in (-1, 1)]
    for eye in eyes:
        head.ellipse(eye, (3.2, 2.1), (235, 235, 235))
        head.disc(eye, 1.7, (30, 25, 25))
        if signer.glasses:
            head.ellipse(eye, (5.5, 4.5), (40, 40, 40), width=0.5)
    if signer.glasses:
        head.lines([[(-0.15 * width, y - 2), (0.15 * width, y - 2)]], 0.5, (40, 40, 40))
    brows = [[(x - 4, top - 5), (x, top - 6), (x + 4, top - 5)] for x, top in eyes]
    head.lines(brows, 1, _shade(signer.hair, 0.7))
    nose = [(0, y), (1.5, y + 0.24 * height), (-1, y + 0.25 * height)]
    head.lines([nose], 0.6, _shade(skin, 0.7))
    mouth = (0, y + 0.42 * height)
    head.ellipse(mouth, (0.34 * width, 3), (70, 60, 140), 15, 165, width=0.9)


def _draw_arm(canvas, signer, arm):
    shoulder, elbow, wrist = arm[:, :2]
    radius = signer.arm_radius_px
    forearm = signer.shirt if signer.long_sleeves else signer.skin
    _draw_limb(canvas, shoulder, elbow, radius + 1.5, radius, signer.shirt)
    _draw_limb(canvas, elbow, wrist, 0.92 * radius, 0.68 * radius, forearm)
    if not signer.long_sleeves:
        hem = shoulder + 0.85 * (elbow - shoulder)
        canvas.limb(shoulder, hem, radius + 1, radius + 0.5, signer.shirt)
    _draw_hand(canvas, signer, arm)


def _draw_limb(canvas, start, end, start_radius, end_radius, colour):
    """Dark outline, body, and a light from the upper left."""
    canvas.limb(start, end, start_radius + 1.1, end_radius + 1.1, _shade(colour, 0.5))
    canvas.limb(start, end, start_radius, end_radius, _shade(colour, 0.86))
    light = -0.22 * start_radius
    canvas.limb(start + light, end + light, 0.62 * start_radius, 0.62 * end_radius, colour)


def _hand_direction(signer, arm):
    """Unit vector (x, y) of the hand: on from the forearm, and upwards the more it is raised."""
    _, elbow, wrist = arm
    forearm = (wrist - elbow)[:2] / signer.forearm_px
    raised = min(max((signer.hands_at_rest()[0, 1] - wrist[1]) / 60, 0.0), 1.0)
    direction = forearm + (0, -0.9 * raised)
    return direction / max(np.hypot(*direction), 1e-6)


def _draw_hand(canvas, signer, arm):
    wrist = arm[2][:2]
    size = signer.hand_px * (1 + arm[2][2] / 300)
    along = _hand_direction(signer, arm)
    palm = wrist + 0.7 * size * along
    is_left_of_picture = arm[0][0] < 0
    across = np.array([-along[1], along[0]]) * (1 if is_left_of_picture else -1)
    tips = palm + size * FINGERS @ np.array([along, across])
    fingers = np.stack([np.broadcast_to(palm, tips.shape), tips], axis=1)
    for extra, colour in ((1.0, _shade(signer.skin, 0.5)), (0.0, signer.skin)):
        canvas.lines(fingers, 0.44 * size + 2 * extra, colour)
        canvas.limb(wrist, palm, 0.52 * size + extra, 0.68 * size + extra, colour)
