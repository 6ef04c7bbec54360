"""Draws a toy signer in one pose, in colour and as depth.

Coordinates are those of gesture.py.
"""

import dataclasses

import numpy as np

FINGERS = np.array([(1.55, -0.72), (1.8, -0.26), (1.82, 0.24), (1.6, 0.7), (0.75, 1.2)])
DEPTH_BODY, DEPTH_PER_PX = 120, 1.6  # gray level of the chest, and per pixel towards the camera


@dataclasses.dataclass(frozen=True)
class HandPose:
    """How a hand is held.

    lengths: `(5,)`, of the fingers in the order of `FINGERS`, 1: stretched. spread: of the fingers,
    1: wide. bend: degrees at the wrist, away from the body. turn: 1 shows the palm, 0 the edge, -1
    the back.
    """

    lengths: np.ndarray
    spread: float = 1.0
    bend: float = 0.0
    turn: float = 1.0


OPEN_HAND = HandPose(np.ones(len(FINGERS)))


def draw_signer(canvas, signer, joints, head_tilt, hands=(OPEN_HAND, OPEN_HAND)):
    """Draws the signer on a `Canvas`: hair behind, torso, head, then the arms in front.

    Args:
        joints: `(2, 3, 3)`, one frame of `arm_joints`.
        head_tilt: degrees.
        hands: `HandPose` of hand 0 and 1.
    """
    head = canvas.turned(head_tilt, about=(0, -8))
    _draw_back_hair(head, signer)
    _draw_torso(canvas, signer)
    _draw_head(head, signer)
    for hand in sorted((0, 1), key=lambda hand: joints[hand][2][2]):
        _draw_arm(canvas, signer, joints[hand], hands[hand])


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
        fingertips = wrist + 1.6 * signer.hand_px * hand_direction(signer, arm)
        canvas.limb(wrist, fingertips, 0.75 * radius, 0.75 * radius, gray[2])


def hand_direction(signer, arm, bend=0.0):
    """Unit vector (x, y) of the hand: on from the forearm, and upwards the more it is raised.

    Args:
        signer: `signer.Signer`.
        arm: `(3, 3)`, one arm of `arm_joints`.
        bend: degrees at the wrist, away from the body.
    """
    _, elbow, wrist = arm
    forearm = (wrist - elbow)[:2] / signer.forearm_px
    raised = min(max((signer.hands_at_rest()[0, 1] - wrist[1]) / 60, 0.0), 1.0)
    direction = forearm + (0, -0.9 * raised)
    direction = direction / max(np.hypot(*direction), 1e-6)
    angle = np.radians(bend if _is_left_of_picture(arm) else -bend)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]) @ direction


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


def _draw_arm(canvas, signer, arm, pose):
    shoulder, elbow, wrist = arm[:, :2]
    radius = signer.arm_radius_px
    forearm = signer.shirt if signer.long_sleeves else signer.skin
    _draw_limb(canvas, shoulder, elbow, radius + 1.5, radius, signer.shirt)
    _draw_limb(canvas, elbow, wrist, 0.92 * radius, 0.68 * radius, forearm)
    if not signer.long_sleeves:
        hem = shoulder + 0.85 * (elbow - shoulder)
        canvas.limb(shoulder, hem, radius + 1, radius + 0.5, signer.shirt)
    _draw_hand(canvas, signer, arm, pose)


def _draw_limb(canvas, start, end, start_radius, end_radius, colour):
    """Dark outline, body, and a light from the upper left."""
    canvas.limb(start, end, start_radius + 1.1, end_radius + 1.1, _shade(colour, 0.5))
    canvas.limb(start, end, start_radius, end_radius, _shade(colour, 0.86))
    light = -0.22 * start_radius
    canvas.limb(start + light, end + light, 0.62 * start_radius, 0.62 * end_radius, colour)


def _draw_hand(canvas, signer, arm, pose):
    wrist = arm[2][:2]
    size = signer.hand_px * (1 + arm[2][2] / 300)
    along = hand_direction(signer, arm, pose.bend)
    palm = wrist + 0.7 * size * along
    across = np.array([-along[1], along[0]]) * (1 if _is_left_of_picture(arm) else -1) * pose.turn
    tips = FINGERS * pose.lengths[:, None] * (1, pose.spread)
    tips = palm + size * tips @ np.array([along, across])
    fingers = np.stack([np.broadcast_to(palm, tips.shape), tips], axis=1)
    for extra, colour in ((1.0, _shade(signer.skin, 0.5)), (0.0, signer.skin)):
        canvas.lines(fingers, 0.44 * size + 2 * extra, colour)
        width = 0.68 * (0.62 + 0.38 * abs(pose.turn)) * size
        canvas.limb(wrist, palm, 0.52 * size + extra, width + extra, colour)


def _is_left_of_picture(arm):
    return arm[0][0] < 0
