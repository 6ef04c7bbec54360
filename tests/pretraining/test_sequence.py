"""What the network is told during pre-training."""

import numpy as np

from pretraining.sequence import MOMENTS, VariedSequence, hands_by_step


def sequence(**settings):
    clips = [(number, number % 3) for number in range(10)]

    def read(number):
        clip = np.full((32, 70, 92, 3), number, np.uint8)
        hands = np.tile(np.arange(32, dtype=np.float32)[:, None], (1, 4))
        return clip, {"hands": hands, "traits": np.full(2, number, np.float32)}

    defaults = {"stream": "rgb", "input_size": (56, 56), "num_steps": 3, "batch_size": 4, "seed": 0}
    return VariedSequence(clips, read, 3, **{**defaults, **settings})


def test_an_epoch_has_each_clip_once_and_can_be_repeated():
    first, again = sequence(), sequence()
    assert first.num_batches == 2
    inputs, targets = first[0]
    same_inputs, same_targets = again[0]
    assert inputs.shape == (4, 32, 56, 56, 3) and inputs.dtype == np.float32
    assert np.array_equal(inputs, same_inputs)
    assert np.array_equal(targets["sign"], same_targets["sign"])
    again.epoch = 1
    assert not np.array_equal(inputs, again[0][0])


def test_what_is_known_of_a_clip_is_told_beside_it():
    inputs, targets = sequence()[0]
    assert targets["traits"].shape == (4, 2)
    assert np.array_equal(targets["traits"][:, 0] % 3, targets["sign"].argmax(axis=1))


def test_hands_follow_the_frames_that_are_shown():
    _, targets = sequence()[0]
    assert targets["hands"].shape == (4, 3, 4 * len(MOMENTS))
    of_first_hand = targets["hands"].reshape(4, 3, len(MOMENTS), 4)[..., 0]
    assert (np.diff(of_first_hand, axis=1) >= 0).all()  # time goes on
    assert (of_first_hand >= 0).all() and (of_first_hand <= 31).all()


def test_a_step_knows_its_own_moments():
    frames = np.arange(32, dtype=np.float32)[:, None]
    assert hands_by_step(frames, 3).tolist() == [[2, 6, 10, 14], [10, 14, 18, 22], [18, 22, 26, 30]]
