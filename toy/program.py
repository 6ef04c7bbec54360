"""What an invented sign is: a program of places, movements and hand shapes, drawn at random.

    program = invent_sign(random.Random("sign 7"))

Places are where the wrist is, in toy/gesture.py's coordinates, but x counts towards the hand's own
side: one program serves both hands.
"""

import dataclasses

HANDS = {  # what the other hand does: share of signs
    "one": 0.5,
    "mirror": 0.18,
    "parallel": 0.08,
    "alternate": 0.1,
    "base": 0.14,  # it is still, and the main hand signs at it
}
KINDS = {  # of movements: weight
    "straight": 5,
    "arc": 3,
    "circle": 3,
    "zigzag": 1,
    "shake": 2,
    "tap": 2,
    "swing": 3,
    "hold": 2,
    "twist": 1,
}
TRAVELS = ("straight", "arc", "zigzag")  # may lead to another place
NUM_MOVEMENTS = {1: 0.5, 2: 0.35, 3: 0.15}
# Lengths of little finger, ring, middle, index and thumb, and how far they are spread.
SHAPES = {
    "spread": (1, 1, 1, 1, 1, 1.0),
    "flat": (1, 1, 1, 1, 0.7, 0.45),
    "fist": (0.42, 0.42, 0.42, 0.42, 0.5, 0.7),
    "point": (0.42, 0.42, 0.42, 1, 0.5, 0.7),
    "vee": (0.42, 0.42, 1, 1, 0.5, 1.0),
    "el": (0.42, 0.42, 0.42, 1, 1.1, 1.1),
    "thumb": (0.42, 0.42, 0.42, 0.42, 1.2, 0.8),
    "why": (1, 0.42, 0.42, 0.42, 1.1, 1.1),
    "horns": (1, 0.42, 0.42, 1, 0.5, 1.0),
    "three": (0.42, 1, 1, 1, 0.5, 0.9),
    "claw": (0.7, 0.75, 0.75, 0.7, 0.8, 1.1),
    "bunch": (0.75, 0.75, 0.75, 0.75, 0.75, 0.2),
}
LOOSE = "claw"  # the shape of a hand that does nothing
BASE_STARTS = ("front", "chest", "own_chest", "other_chest", "high_front", "belly")
TO_PLACE_SHARE = 0.45  # of movements; the others go in a direction
MAIN_HAND_SHARE = 0.8  # of signs; the others begin at the other side
CHANGED_SHAPE_SHARE, CHANGED_BEND_SHARE, CHANGED_TURN_SHARE = 0.25, 0.25, 0.2
BENDS_DEGREES = (0, 0, 0, -80, -45, 45, 80)  # of the hand at the wrist
LAST_BENDS_DEGREES = (0, -90, 90, 45, -45)
TURNS = (1, 1, 0.25, -1)  # palm to the front, edge to the front, back to the front
WAYS_DEGREES = range(0, 360, 45)
PLANES = {"xy": 0.6, "xz": 0.2, "yz": 0.2}  # of circles: share
REPEATS = {1: 0.55, 2: 0.3, 3: 0.15}  # of movements: share


@dataclasses.dataclass(frozen=True)
class Movement:
    """One movement; each kind takes from it what it needs.

    Lengths are in pixels; `aim` is a place, or None for `degrees`; `plane` is the two axes of a
    circle; `phase` a share of a turn; `bow` and `aspect` are shares of a length.
    """

    kind: str
    aim: str | None
    degrees: float
    length: float
    depth: float
    bow: float
    radius: float
    aspect: float
    plane: str
    direction: int
    phase: float
    repeat: int
    cycles: int
    hz: float
    small: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Program:
    """An invented sign.

    Pairs are of its beginning and its end; `is_main` says whether the signer's main hand leads;
    `base` is where the other hand is if `hands` is "base".
    """

    hands: str
    is_main: bool
    start: str
    movements: tuple[Movement, ...]
    shapes: tuple[str, str]
    other_shape: str
    bends: tuple[float, float]
    turns: tuple[float, float]
    base: tuple[float, float, float]

    @property
    def is_symmetric(self):
        """Whether both hands do the same."""
        return self.hands in ("mirror", "parallel", "alternate")


def places(person):
    """{name: (x, y, z)} of where a wrist may be, x towards the hand's own side.

    Args:
        person: `signer.Signer`.
    """
    width, height, y = person.head_width_px, person.head_height_px, person.head_y_px
    shoulder = person.shoulder_px
    return {
        "above": (0.4 * width, y - 1.1 * height, 14),
        "forehead": (0.35 * width, y + 0.1 * height, 24),
        "temple": (1.15 * width, y + 0.2 * height, 14),
        "ear": (1.5 * width, y + 0.5 * height, 6),
        "nose": (0.3 * width, y + 0.9 * height, 28),
        "mouth": (0.3 * width, y + 1.25 * height, 28),
        "chin": (0.2 * width, y + 1.6 * height, 26),
        "cheek": (0.9 * width, y + 0.9 * height, 20),
        "neck": (0.2 * width, 4, 22),
        "shoulder": (0.9 * shoulder, 12, 16),
        "other_shoulder": (-0.7 * shoulder, 16, 22),
        "chest": (2, 34, 24),
        "own_chest": (0.55 * shoulder, 36, 22),
        "other_chest": (-0.5 * shoulder, 40, 24),
        "belly": (4, 74, 24),
        "own_belly": (0.6 * shoulder, 76, 22),
        "other_belly": (-0.6 * shoulder, 72, 26),
        "front": (8, 44, 44),
        "own_front": (0.9 * shoulder, 40, 36),
        "side": (1.9 * shoulder, 28, 20),
        "high_side": (1.7 * shoulder, -30, 18),
        "higher_side": (1.5 * shoulder, -66, 14),
        "low_side": (1.7 * shoulder, 78, 18),
        "far_side": (2.3 * shoulder, 2, 8),
        "cross": (-1.2 * shoulder, 42, 34),
        "high_front": (0.5 * shoulder, -18, 42),
    }


def invent_sign(rng, names):
    """A `Program` made with `rng`, a `random.Random`, that begins at one of the places `names`."""
    hands = pick(HANDS, rng)
    num_movements = pick(NUM_MOVEMENTS, rng)
    first = rng.choice(list(SHAPES))
    bend, turn = rng.choice(BENDS_DEGREES), rng.choice(TURNS)
    changed = [rng.random() for _ in range(3)]
    return Program(
        hands=hands,
        is_main=rng.random() < MAIN_HAND_SHARE,
        start=rng.choice(BASE_STARTS if hands == "base" else names),
        movements=tuple(
            _invent_movement(num_movements == 1, names, rng) for _ in range(num_movements)
        ),
        shapes=(
            first,
            rng.choice(list(SHAPES)) if changed[0] < CHANGED_SHAPE_SHARE else first,
        ),
        other_shape=rng.choice((first, first, "flat", "fist")),
        bends=(bend, rng.choice(LAST_BENDS_DEGREES) if changed[1] < CHANGED_BEND_SHARE else bend),
        turns=(turn, -turn if changed[2] < CHANGED_TURN_SHARE else turn),
        base=(rng.uniform(-4, 14), rng.uniform(38, 62), rng.uniform(26, 40)),
    )


def pick(shares, rng):
    """One of the keys of a dict, as often as its value says."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def _invent_movement(is_only_one, names, rng):
    kind = pick(KINDS, rng)
    if kind == "hold" and is_only_one and rng.random() < 0.6:  # few signs are just held
        kind = "straight"
    return Movement(
        kind=kind,
        aim=rng.choice(names) if kind in TRAVELS and rng.random() < TO_PLACE_SHARE else None,
        degrees=rng.choice(WAYS_DEGREES),
        length=rng.uniform(24, 62),
        depth=rng.choice((0, 0, 0, 20, -15)),
        bow=rng.choice((-1, 1)) * rng.uniform(0.3, 0.6),
        radius=rng.choice((rng.uniform(9, 16), rng.uniform(18, 36))),
        aspect=rng.choice((1, 1, 0.5)),
        plane=pick(PLANES, rng),
        direction=rng.choice((-1, 1)),
        phase=rng.choice((0, 0.25, 0.5, 0.75)),
        repeat=pick(REPEATS, rng),
        cycles=rng.choice((2, 2, 3, 4)),
        hz=rng.uniform(2.2, 4.0),
        small=rng.uniform(5, 11),
        seconds=rng.uniform(0.28, 0.6),
    )
