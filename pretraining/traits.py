"""What can be said of an invented sign whoever performs it: questions that signs have in common.

Which sign it is teaches little while each is one of hundreds; which movement leads where, with
which shape of the hand, is taught by every clip, and holds for signs that are not invented yet.
"""

import functools

import numpy as np

from toy import performance, program

NONE = "none"
MOST_MOVEMENTS = max(program.NUM_MOVEMENTS)
WITH_WAY = (*program.TRAVELS, "swing", "tap", "shake")  # go somewhere, or to and fro that way
TURNING = ("circle",)
REPEATED = (*program.TRAVELS, *TURNING)


def answers(sign):
    """{question: answer} of a `program.Program`."""
    told = {
        "hands": sign.hands,
        "start": sign.start,
        "other_shape": sign.other_shape,
        "movements": len(sign.movements),
    }
    for name, pair in (("shape", sign.shapes), ("bend", sign.bends), ("turn", sign.turns)):
        told |= {f"first_{name}": pair[0], f"last_{name}": pair[1]}
    for number in range(MOST_MOVEMENTS):
        movement = sign.movements[number] if number < len(sign.movements) else None
        told |= {f"{name}_{number}": answer for name, answer in _of_movement(movement).items()}
    return told


def _of_movement(movement):
    kind = movement.kind if movement else NONE
    aim = movement.aim if kind in program.TRAVELS and movement.aim else NONE
    return {
        "kind": kind,
        "aim": aim,
        "degrees": movement.degrees if kind in WITH_WAY and aim == NONE else NONE,
        "plane": movement.plane if kind in TURNING else NONE,
        "direction": movement.direction if kind in TURNING else NONE,
        "repeat": movement.repeat if kind in REPEATED else NONE,
    }


@functools.cache
def questions():
    """{question: its possible answers}, in the order of `encode`."""
    shapes, places = list(program.SHAPES), performance.place_names()
    bends = sorted({*program.BENDS_DEGREES, *program.LAST_BENDS_DEGREES})
    turns = sorted({*program.TURNS, *(-turn for turn in program.TURNS)})
    known = {
        "hands": list(program.HANDS),
        "start": places,
        "other_shape": shapes,
        "movements": sorted(program.NUM_MOVEMENTS),
        "first_shape": shapes,
        "last_shape": shapes,
        "first_bend": sorted(set(program.BENDS_DEGREES)),
        "last_bend": bends,
        "first_turn": sorted(set(program.TURNS)),
        "last_turn": turns,
    }
    of_movement = {
        "kind": [*program.KINDS, NONE],
        "aim": [*places, NONE],
        "degrees": [*program.WAYS_DEGREES, NONE],
        "plane": [*program.PLANES, NONE],
        "direction": [-1, 1, NONE],
        "repeat": [*program.REPEATS, NONE],
    }
    for number in range(MOST_MOVEMENTS):
        known |= {f"{name}_{number}": values for name, values in of_movement.items()}
    return known


def sizes():
    """Number of answers to each question."""
    return [len(possible) for possible in questions().values()]


def encode(sign):
    """The answers of a `program.Program`, one-hot and one question after the other: float32."""
    told = answers(sign)
    return np.concatenate(
        [
            np.eye(len(possible), dtype=np.float32)[possible.index(told[question])]
            for question, possible in questions().items()
        ]
    )
