"""What is asked about invented signs."""

import dataclasses

import numpy as np

from pretraining import traits
from toy import performance


def test_every_question_has_one_answer_and_every_answer_is_given():
    codes = np.array([traits.encode(performance.invent(f"sign {n}")) for n in range(6000)])
    ends = np.cumsum(traits.sizes())
    for question, part in zip(traits.questions(), np.split(codes, ends[:-1], axis=1), strict=True):
        assert (part.sum(axis=1) == 1).all(), question
    possible = [(name, answer) for name, all_ in traits.questions().items() for answer in all_]
    never = [possible[index] for index in np.flatnonzero(codes.sum(axis=0) == 0)]
    assert never == [("kind_0", traits.NONE)]  # every sign has a movement


def test_what_a_movement_does_not_use_is_not_asked():
    sign = performance.invent("sign 7")
    circle = dataclasses.replace(sign.movements[0], kind="circle", aim=None, degrees=90)
    hold = dataclasses.replace(circle, kind="hold")
    told = traits.answers(dataclasses.replace(sign, movements=(circle, hold)))
    assert told["movements"] == 2 and told["kind_0"] == "circle" and told["kind_1"] == "hold"
    assert told["degrees_0"] == told["plane_1"] == told["kind_2"] == traits.NONE
    assert told["plane_0"] == circle.plane
