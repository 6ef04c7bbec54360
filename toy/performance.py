"""How a drawn person performs an invented sign: where hands are, how they turn and are shaped.

    performance = perform(program, person, rng)

Coordinates are toy/gesture.py's. Everything is sampled `GRID_HZ` times a second.
"""

import dataclasses
import math
import random

import numpy as np

from toy import signer
from toy import variation as vary
from toy.gesture import ease, noise
from toy.program import KINDS, LOOSE, SHAPES, invent_sign, places

GRID_HZ = 120
CLOSE_PX = 18  # places nearer than this are the same one
NARROW_PX = 5  # mirrored hands come no nearer to the middle than this: they don't pass through
LOOSE_SHAPE = np.array(SHAPES[LOOSE])


@dataclasses.dataclass(frozen=True)
class Performance:
    """One performance; arrays have a row per grid step.

    wrists: `(steps, 2, 3)`, hand 0 and 1. shapes: `(steps, 2, 6)`, see `program.SHAPES`.
    bends: `(steps, 2)`, degrees at the wrist. turns: `(steps, 2)`, 1: palm to the front.
    sway: `(steps, 2)` px. head_tilt: `(steps,)` degrees. start, stop: steps that are filmed.
    lowest_px: y of the lowest place that a signing hand has.
    """

    wrists: np.ndarray
    shapes: np.ndarray
    bends: np.ndarray
    turns: np.ndarray
    sway: np.ndarray
    head_tilt: np.ndarray
    start: int
    stop: int
    lowest_px: float


def place_names():
    """The places where a sign may begin or lead to."""
    return list(places(signer.invent_signer(random.Random(0))))


def invent(sign_seed):
    """The `Program` of a number or text."""
    return invent_sign(random.Random(sign_seed), place_names())


def invent_person(seed):
    """A `signer.Signer` of more kinds than the toy data set has."""
    rng = random.Random(seed)
    person = signer.invent_signer(rng)
    changed = {
        "speed": rng.uniform(*vary.PERSON_SPEED),
        "amplitude": rng.uniform(*vary.PERSON_AMPLITUDE),
        "main_hand": 0 if rng.random() < vary.RIGHT_HANDED_SHARE else 1,
        "hand_px": person.hand_px * rng.uniform(*vary.HAND_SIZE),
    }
    if rng.random() < vary.LIKE_SKIN_SHARE:
        changed["shirt"] = signer.scene.random_colour(rng, saturation=(0, 0.6), value=(0.15, 0.95))
    return dataclasses.replace(person, **changed)


def perform(program, person, rng):
    """Invents one `Performance` of a `Program` by a `signer.Signer`, with a `random.Random`."""
    where = {name: np.array(place, float) for name, place in places(person).items()}
    path = _Path(where[program.start], person, where, rng)
    for movement in program.movements:
        path.add(movement)
    path.hold(rng.uniform(*vary.END_SECONDS))
    core, twist = path.points(), path.twist()
    times = _Times(len(core), rng)
    main = person.main_hand if program.is_main else 1 - person.main_hand
    if rng.random() < vary.OTHER_HAND_SHARE:
        main = 1 - main
    raised = [None, None]
    raised[main], raised[1 - main] = _both_hands(program, core, where, rng)
    share = ease(np.clip((times.core / max(len(core) - 1, 1) - 0.25) / 0.5, 0, 1))
    shapes = _shapes(program, main, share, times.up)
    bends, turns = _directions(program, main, share, times, twist, rng)
    tilt = noise(times.seconds, vary.HEAD_TILT_DEGREES, vary.SWAY_HZ, rng, axes=1)[:, 0]
    start, stop = times.filmed(rng)
    return Performance(
        wrists=_wrists(raised, times, person, rng),
        shapes=shapes,
        bends=bends,
        turns=turns,
        sway=noise(times.seconds, vary.SWAY_PX, vary.SWAY_HZ, rng) * (1, 0.4),
        head_tilt=tilt,
        start=start,
        stop=stop,
        lowest_px=max(points[:, 1].max() for points in raised if points is not None),
    )


class _Path:
    """Where the leading hand is while it signs, movement by movement."""

    def __init__(self, start, person, where, rng):
        self.rng, self.where = rng, where
        self.pace = rng.uniform(*vary.PACE) / person.speed
        self.amplitude = person.amplitude * rng.uniform(*vary.AMPLITUDE)
        self._points, self._turned = [(start + self._jitter())[None]], [np.zeros(1)]

    def points(self):
        return np.concatenate(self._points)

    def twist(self):
        """Degrees by which the hand is turned at the wrist besides."""
        return np.concatenate(self._turned)

    def hold(self, seconds):
        self._append(np.repeat(self._points[-1][-1:], max(1, round(seconds * GRID_HZ)), axis=0))

    def add(self, movement):
        """Goes on with a `program.Movement`."""
        MOVES[movement.kind](self, movement)
        if self.rng.random() < vary.PAUSE_SHARE:
            self.hold(self.rng.uniform(*vary.PAUSE_SECONDS))

    def _straight(self, movement, wave=lambda t, aside: 0):
        here = self._points[-1][-1]
        delta = self._delta(movement)
        flat = delta * (1, 1, 0)
        aside = np.array([-flat[1], flat[0], 0]) * movement.bow * self.rng.uniform(0.8, 1.2)
        seconds = movement.seconds + 0.35 * np.linalg.norm(flat) / 60
        for number in range(movement.repeat):
            if number:
                t = ease(self._progress(seconds - 0.25 * movement.seconds))
                back = self._points[-1][-1]
                self._append(back + t * (here - back))
            t = ease(self._progress(seconds))
            self._append(here + t * delta + wave(t, aside))

    def _arc(self, movement):
        self._straight(movement, lambda t, aside: 4 * t * (1 - t) * aside)

    def _zigzag(self, movement):
        def wave(t, aside):
            strength = np.sin(2 * np.pi * movement.cycles * t) * np.sqrt(np.sin(np.pi * t) + 1e-9)
            return 1.3 * movement.small * strength * aside / max(np.linalg.norm(aside), 1e-6)

        self._straight(movement, wave)

    def _circle(self, movement):
        turns = max(1, movement.repeat + (self.rng.random() < 0.2))
        radius = movement.radius * self.amplitude * self.rng.uniform(0.85, 1.15)
        t = self._progress(turns * (0.4 + radius / 90))
        t = 0.6 * t + 0.4 * ease(t)
        first = 2 * np.pi * movement.phase
        phase = first + 2 * np.pi * movement.direction * turns * t
        offset = np.zeros((len(t), 3))
        across, along = ("xyz".index(axis) for axis in movement.plane)
        offset[:, across] = (radius * (np.cos(phase) - np.cos(first)))[:, 0]
        offset[:, along] = (radius * movement.aspect * (np.sin(phase) - np.sin(first)))[:, 0]
        self._append(self._points[-1][-1] + offset)

    def _swing(self, movement):
        delta, cycles = self._delta(movement), self._cycles(movement)
        t = self._progress(cycles * (0.32 + np.linalg.norm(delta[:2]) / 170))
        self._append(self._points[-1][-1] + (0.5 - 0.5 * np.cos(2 * np.pi * cycles * t)) * delta)

    def _tap(self, movement):
        cycles = self._cycles(movement)
        t = 0.5 - 0.5 * np.cos(2 * np.pi * cycles * self._progress(cycles * 0.34))
        self._append(self._points[-1][-1] + 0.35 * t * self._delta(movement))

    def _shake(self, movement):
        cycles = self._cycles(movement) + 1
        wave = np.sin(2 * np.pi * cycles * self._progress(cycles / movement.hz))
        along = self._direction(movement)
        strength = movement.small * self.rng.uniform(0.8, 1.2)
        self._append(self._points[-1][-1] + strength * wave * along)

    def _twist(self, movement):
        cycles = self._cycles(movement)
        wave = np.sin(2 * np.pi * cycles * self._progress(1.4 * cycles / movement.hz))
        still = np.repeat(self._points[-1][-1:], len(wave), axis=0)
        self._append(still, 45 * wave[:, 0])

    def _hold(self, movement):
        self.hold(1.3 * movement.seconds * self.pace)

    def _append(self, points, twist=None):
        self._points.append(points)
        self._turned.append(np.zeros(len(points)) if twist is None else twist)

    def _progress(self, seconds):
        """0..1 over a movement that usually takes so long, `(steps, 1)`."""
        steps = max(4, round(seconds * self.pace * self.rng.uniform(0.82, 1.2) * GRID_HZ))
        return np.linspace(0, 1, steps + 1)[1:, None]

    def _jitter(self):
        return np.array([self.rng.gauss(0, vary.PLACE_STD_PX) for _ in "xyz"])

    def _direction(self, movement):
        turn = math.radians(movement.degrees + self.rng.uniform(*vary.TURN_DEGREES))
        return np.array([math.cos(turn), math.sin(turn), 0])

    def _delta(self, movement):
        """From here to where a movement leads."""
        length = movement.length * self.amplitude * self.rng.uniform(*vary.LENGTH)
        delta = length * self._direction(movement) + (0, 0, movement.depth)
        if movement.aim:
            to_place = self.where[movement.aim] + self._jitter() - self._points[-1][-1]
            if np.linalg.norm(to_place[:2]) >= CLOSE_PX:
                return to_place
        return delta

    def _cycles(self, movement):
        more = self.rng.random() < vary.ONE_MORE_SHARE
        return max(1, movement.cycles + more * self.rng.choice((-1, 1)))


MOVES = {kind: getattr(_Path, f"_{kind}") for kind in KINDS}


class _Times:
    """When hands are raised, sign, and are lowered.

    core: `(steps,)`, which step of the sign. up: `(steps,)`, 0 with hands down, 1 while signing.
    """

    def __init__(self, num_core, rng):
        self.lead, self.tail = (
            round(max(0, rng.uniform(*vary.STILL_SECONDS)) * GRID_HZ) for _ in range(2)
        )
        self.raising = round(rng.uniform(*vary.RAISE_SECONDS) * GRID_HZ)
        self.lowering = round(rng.uniform(*vary.LOWER_SECONDS) * GRID_HZ)
        first = self.lead + self.raising
        total = first + num_core + self.lowering + self.tail
        self.seconds = np.arange(total) / GRID_HZ
        self.core = np.clip(np.arange(total) - first, 0, num_core - 1)
        self.up = np.zeros(total)
        self.up[self.lead : first] = ease(np.linspace(0, 1, self.raising))
        self.up[first : first + num_core] = 1
        lowered = slice(first + num_core, first + num_core + self.lowering)
        self.up[lowered] = 1 - ease(np.linspace(0, 1, self.lowering))

    def filmed(self, rng):
        """(first step, last step + 1) of what the clip shows."""
        start, stop = 0, len(self.seconds)
        if rng.random() < vary.CUT_SHARE:
            start = rng.randint(0, self.lead + round(0.9 * self.raising))
        if rng.random() < vary.CUT_SHARE:
            stop = rng.randint(stop - self.tail - round(0.9 * self.lowering), stop)
        return start, min(stop, start + round(vary.LONGEST_SECONDS * GRID_HZ))


def _both_hands(program, core, where, rng):
    """Where the leading and the other hand sign, `(steps, 3)` or None each; x to its own side."""
    moved = core - core[0]
    if program.hands == "mirror":
        core = np.maximum(core, (NARROW_PX, -np.inf, -np.inf))
        other = core
    elif program.hands == "parallel":
        other = core[0] + moved * (-1, 1, 1)
    elif program.hands == "alternate":
        other = core[0] + moved * (1, -1, -1)
    elif program.hands == "base":
        place = np.array(program.base) + [rng.gauss(0, vary.PLACE_STD_PX) for _ in "xyz"]
        return core, np.tile(place, (len(core), 1))
    elif rng.random() < vary.IDLE_HAND_SHARE:
        place = where[rng.choice(("belly", "own_belly", "own_front", "low_side"))]
        return core, np.tile(place, (len(core), 1))
    else:
        return core, None
    lag = round(rng.uniform(*vary.SECOND_HAND_LAG_SECONDS) * GRID_HZ)
    return core, other[np.clip(np.arange(len(core)) - lag, 0, None)]


def _wrists(raised, times, person, rng):
    rest = person.hands_at_rest()
    if rng.random() < vary.LAP_SHARE:
        lap = np.array([rng.uniform(*vary.LAP_X_PX), rng.uniform(*vary.LAP_Y_PX), 18])
        rest = np.array([lap * (-1, 1, 1), lap])
    wrists = np.empty((len(times.seconds), 2, 3))
    up = times.up[:, None]
    for hand, side in enumerate((-1, 1)):
        wobble = noise(times.seconds, vary.WOBBLE_PX, vary.WOBBLE_HZ, rng, axes=3)
        wrists[:, hand] = rest[hand]
        if raised[hand] is not None:
            bulge = rng.uniform(*vary.BULGE_PX) * np.array([side, 0, 1])
            wrists[:, hand] += up * (raised[hand][times.core] * (side, 1, 1) - rest[hand])
            wrists[:, hand] += 4 * up * (1 - up) * bulge
        wrists[:, hand] += wobble
    return wrists


def _shapes(program, main, share, up):
    first, last = (np.array(SHAPES[name]) for name in program.shapes)
    leading = first + share[:, None] * (last - first)
    shapes = np.empty((len(share), 2, len(LOOSE_SHAPE)))
    shapes[:, main] = leading
    shapes[:, 1 - main] = leading if program.is_symmetric else SHAPES[program.other_shape]
    return LOOSE_SHAPE + np.clip(2 * up - 0.3, 0, 1)[:, None, None] * (shapes - LOOSE_SHAPE)


def _directions(program, main, share, times, twist, rng):
    """(bends, turns) of both hands."""
    bend = program.bends[0] + share * (program.bends[1] - program.bends[0])
    bend = (bend + rng.gauss(0, vary.BEND_STD_DEGREES) + twist[times.core]) * times.up
    turn = program.turns[0] + share * (program.turns[1] - program.turns[0])
    bends, turns = np.zeros((len(share), 2)), np.ones((len(share), 2))
    bends[:, main], turns[:, main] = bend, turn
    if program.is_symmetric:
        bends[:, 1 - main], turns[:, 1 - main] = bend, turn
    elif program.hands == "base":
        bends[:, 1 - main] = rng.gauss(60, 15) * times.up
    return bends, turns
