"""How the hands of a toy signer move: one clip's worth of wrist positions for each sign.

Imported by toysigns.py, whose docstring says how each sign is done and lists all ranges.

Coordinates are those of the chest, in pixels of a 240×320 picture: origin between the shoulders,
x to the right of the picture, y down, z towards the camera. Hand 0 is the one at the left of the
picture (the signer's right), hand 1 the other.

Everything is symmetric in time: a clip played backwards is as likely as the clip itself, for
swipes with the opposite direction.
"""

import dataclasses

import numpy as np

from toy.scene import FRAMES_PER_SECOND

NUM_FRAMES = (42, 48)  # frames
ACTIVE_SECONDS = (2.5, 2.9)  # from the end of raising the arm to the start of lowering it
RAISE_SECONDS = (0.45, 0.6)
START_SHARE = (0.35, 0.65)  # share of the remaining time that passes before the arm is raised
SWIPE_SECONDS = (1.1, 1.4)  # at a signer's speed of 1, as is SWING_SECONDS
SWING_SECONDS = (0.58, 0.7)  # half a period of wave and clap
NUM_SWINGS = (3, 4)
TURN_SECONDS = (1.8, 2.2)
NUM_TURNS = (1.1, 1.4)

CENTRE_X_PX = (4, 18)  # towards the side of the hand
CENTRE_Y_PX = (8, 26)
CENTRE_Z_PX = (10, 28)
SWIPE_PX = (42, 54)  # half the way
WAVE_PX = (30, 40)  # half the way
RADIUS_PX = (34, 44)
CIRCLE_ASPECT = (0.9, 1.1)
CLAP_GAP_PX = (7, 9)  # half the distance of the wrists when the palms meet
CLAP_PX = (44, 60)  # half the distance when they are apart
TILT_DEGREES = (-7, 7)
BOW_PX = (-6, 6)
WOBBLE_PX = (0.5, 1.5)
WOBBLE_HZ = (0.2, 0.8)
RAISE_BULGE_PX = (4, 16)  # outwards and towards the camera, half way up

HOLD_X_PX = (-32, 52)  # where an idle hand stays, x towards its own side
HOLD_Y_PX = (-44, 62)
SCRATCH_PX = (3, 5)
SCRATCH_HZ = (0.8, 1.2)
IDLE_SHARES = {"hold": 0.5, "scratch": 0.2, "rest": 0.3}  # main hand of no_gesture
SECOND_HAND_SHARES = {"rest": 0.75, "hold": 0.25}  # other hand of all signs but clap
OTHER_HAND_SHARE = 0.1  # clips in which the signer does not use the preferred hand
SECOND_HAND_LAG_SECONDS = (-0.1, 0.1)

SWAY_PX = (0.5, 2.0)
SWAY_HZ = (0.1, 0.35)
HEAD_TILT_DEGREES = (1.0, 5.0)
FIDGET_PX = (0.5, 3.0)  # of hands that rest


@dataclasses.dataclass(frozen=True)
class Motion:
    """One clip's motion.

    wrists: `(num_frames, 2, 3)`, hand 0 and 1.
    raised: bool `(num_frames,)`, whether the hands that take part are up.
    sway: `(num_frames, 2)`, what the chest, and all that hangs on it, is moved by.
    head_tilt: `(num_frames,)`, degrees.
    """

    wrists: np.ndarray
    raised: np.ndarray
    sway: np.ndarray
    head_tilt: np.ndarray


@dataclasses.dataclass(frozen=True)
class Clock:
    """When things happen: `seconds` of each frame, and the times that the raised arm has."""

    seconds: np.ndarray
    start: float
    active: float
    raising: float
    lowering: float
    speed: float

    def progress(self, duration, rng):
        """0 before, 0..1 during and 1 after a movement somewhere within the active time."""
        duration = min(duration / self.speed, self.active)
        start = self.start + (self.active - duration) * rng.uniform(0.2, 0.8)
        return np.clip((self.seconds - start) / duration, 0, 1)

    def lift(self, lag=0.0):
        """0 while the arm hangs, 1 while it is raised."""
        seconds = self.seconds - lag
        raised = ease((seconds - self.start + self.raising) / self.raising)
        return raised - ease((seconds - self.start - self.active) / self.lowering)


def perform(sign, signer, rng):
    """Invents one performance of a sign.

    Args:
        sign: one of `SIGNS`.
        signer: a `signer.Signer`.
        rng: `random.Random`.

    Returns:
        `Motion`.
    """
    clock = _clock(signer.speed, rng)
    main = signer.main_hand if rng.random() > OTHER_HAND_SHARE else 1 - signer.main_hand
    rest = signer.hands_at_rest()
    wrists = np.empty((len(clock.seconds), 2, 3))
    raised, lift = _raised_hands(sign, main, clock, signer, rng)
    for hand, side in enumerate((-1, 1)):
        wrists[:, hand] = rest[hand] + noise(clock.seconds, FIDGET_PX, WOBBLE_HZ, rng, axes=3)
        if raised[hand] is None:
            continue
        up = lift[hand][:, None]
        target = raised[hand] + noise(clock.seconds, WOBBLE_PX, WOBBLE_HZ, rng, axes=3)
        bulge = rng.uniform(*RAISE_BULGE_PX) * np.array([side, 0, 1])
        wrists[:, hand] += up * (target - wrists[:, hand]) + 4 * up * (1 - up) * bulge
    sway = noise(clock.seconds, SWAY_PX, SWAY_HZ, rng) * (1, 0.3)
    tilt = noise(clock.seconds, HEAD_TILT_DEGREES, SWAY_HZ, rng, axes=1)[:, 0]
    return Motion(wrists, clock.lift() > 0.99, sway, tilt)


def ease(progress):
    """Minimum-jerk easing of 0..1 to 0..1, the way that hands start and stop."""
    progress = np.clip(progress, 0, 1)
    return progress**3 * (10 + progress * (6 * progress - 15))


def noise(seconds, amplitude, frequency_hz, rng, axes=2):
    """Two sine waves per axis of random frequency and phase, `(num_frames, axes)`."""
    total = np.zeros((len(seconds), axes))
    for axis in range(axes):
        for _ in range(2):
            phase = 2 * np.pi * (rng.random() + rng.uniform(*frequency_hz) * seconds)
            total[:, axis] += rng.uniform(*amplitude) / 2 * np.sin(phase)
    return total


def _clock(speed, rng):
    num_frames = rng.randint(*NUM_FRAMES)
    active = rng.uniform(*ACTIVE_SECONDS)
    raising, lowering = rng.uniform(*RAISE_SECONDS), rng.uniform(*RAISE_SECONDS)
    spare = num_frames / FRAMES_PER_SECOND - active - raising - lowering
    seconds = (np.arange(num_frames) + 0.5) / FRAMES_PER_SECOND
    start = spare * rng.uniform(*START_SHARE) + raising
    return Clock(seconds, start, active, raising, lowering, speed)


def _raised_hands(sign, main, clock, signer, rng):
    """Where each hand is while it is raised, `(num_frames, 3)` or None, and both hands' lift."""
    if sign == "clap":
        return _clap(clock, signer, rng), [clock.lift()] * 2
    raised = [None, None]
    path = _idle if sign == "no_gesture" else PATHS[sign]
    raised[main] = path(clock, signer, (-1, 1)[main], rng)
    if _choose(SECOND_HAND_SHARES, rng) == "hold":
        raised[1 - main] = _hold(clock, (-1, 1)[1 - main], rng)
    lift = [clock.lift()] * 2
    lift[1 - main] = clock.lift(rng.uniform(*SECOND_HAND_LAG_SECONDS))
    return raised, lift


def _centre(side, rng):
    return np.array(
        [side * rng.uniform(*CENTRE_X_PX), rng.uniform(*CENTRE_Y_PX), rng.uniform(*CENTRE_Z_PX)]
    )


def _along(travel, half_way, degrees, side, rng):
    """Along a slightly bent line: `travel` from -1 to 1 is -`half_way` to `half_way` px."""
    angle = np.radians(degrees + rng.uniform(*TILT_DEGREES))
    bow = rng.uniform(*BOW_PX) * (1 - travel**2)
    x = half_way * travel * np.cos(angle) - bow * np.sin(angle)
    y = half_way * travel * np.sin(angle) + bow * np.cos(angle)
    return _centre(side, rng) + np.stack([x, y, 0 * x], axis=1)


def _swipe(degrees):
    def path(clock, signer, side, rng):
        travel = 2 * ease(clock.progress(rng.uniform(*SWIPE_SECONDS), rng)) - 1
        half_way = signer.amplitude * rng.uniform(*SWIPE_PX)
        return _along(travel, half_way, degrees, side, rng)

    return path


def _wave(clock, signer, side, rng):
    return _along(_swings(clock, rng), signer.amplitude * rng.uniform(*WAVE_PX), 0, side, rng)


def _circle(clock, signer, side, rng):
    turns = rng.uniform(*NUM_TURNS)
    progress = clock.progress(turns * rng.uniform(*TURN_SECONDS), rng)
    direction = rng.choice((-1, 1))
    angle = 2 * np.pi * (rng.random() + direction * turns * (progress + ease(progress)) / 2)
    radius = signer.amplitude * rng.uniform(*RADIUS_PX)
    x, y = radius * np.cos(angle), radius * rng.uniform(*CIRCLE_ASPECT) * np.sin(angle)
    return _centre(side, rng) + np.stack([x, y, 0 * x], axis=1)


def _clap(clock, signer, rng):
    gap = rng.uniform(*CLAP_GAP_PX)
    apart = signer.amplitude * rng.uniform(*CLAP_PX)
    half = gap + (apart - gap) * (1 + _swings(clock, rng)) / 2
    centre = _centre(rng.uniform(-0.4, 0.4), rng)
    return [centre + half[:, None] * np.array([side, 0, 0]) for side in (-1, 1)]


def _swings(clock, rng):
    """Swings from 1 to -1 and back, or from -1 to 1, four or five of them."""
    num_swings = rng.randint(*NUM_SWINGS)
    progress = clock.progress(num_swings * rng.uniform(*SWING_SECONDS), rng)
    return rng.choice((-1, 1)) * np.cos(np.pi * num_swings * progress)


def _idle(clock, signer, side, rng):
    what = _choose(IDLE_SHARES, rng)
    if what == "rest":
        return None
    if what == "hold":
        return _hold(clock, side, rng)
    ear = np.array([side * (signer.head_width_px + 8), signer.head_y_px, 12])
    return ear + noise(clock.seconds, SCRATCH_PX, SCRATCH_HZ, rng, axes=3)


def _hold(clock, side, rng):
    place = [side * rng.uniform(*HOLD_X_PX), rng.uniform(*HOLD_Y_PX), rng.uniform(*CENTRE_Z_PX)]
    return np.tile(place, (len(clock.seconds), 1))


def _choose(shares, rng):
    return rng.choices(list(shares), weights=shares.values())[0]


PATHS = {
    "wave": _wave,
    "swipe_left": _swipe(180),
    "swipe_right": _swipe(0),
    "swipe_up": _swipe(-90),
    "swipe_down": _swipe(90),
    "circle": _circle,
}
SIGNS = ("no_gesture", *PATHS, "clap")
