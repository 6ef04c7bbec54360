"""datagenerator.py: labels, order, augmentation and repeatability."""

import shutil

import numpy as np
import pytest

import frame
import opticalflow
from common import dataset as data
from common import network_input
from datagenerator import ClipSequence
from feeding import augmentation
from tests.helpers import TINY

LABELS = ["left", "right"]


def make_sequence(dataset, stream="rgb", **settings):
    clips = [clip for clip in dataset.stored_clips(stream) if clip.split == "train"]
    return ClipSequence(clips, LABELS, stream, TINY.input_size, **{"batch_size": 3, **settings})


def batches(sequence):
    return [sequence[index] for index in range(sequence.num_batches)]


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2)])
def test_without_seed_all_clips_come_in_order(stored_dataset, stream, channels):
    sequence = make_sequence(stored_dataset, stream)
    inputs, labels = (np.concatenate(part) for part in zip(*batches(sequence), strict=True))
    assert inputs.shape == (8, 8, 32, 32, channels) and inputs.dtype == np.float32
    assert labels.tolist() == [[1, 0]] * 4 + [[0, 1]] * 4
    assert [len(batch[0]) for batch in batches(sequence)] == [3, 3, 2]


def test_inputs_are_what_prediction_sees(stored_dataset):
    clip = make_sequence(stored_dataset).clips[0]
    frames = frame.load_frames(clip.path)
    expected = network_input.rgb_input(frames, 32, 32)
    assert np.array_equal(make_sequence(stored_dataset)[0][0][0], expected)
    codes = opticalflow.load_flow(stored_dataset.flow_dir / clip.place())
    expected = network_input.flow_input(codes, 32, 32)
    assert np.array_equal(make_sequence(stored_dataset, "flow")[0][0][0], expected)


def test_same_seed_and_epoch_repeat_exactly(stored_dataset):
    settings = {"seed": 5, "augment": "weak", "flip": True}
    one, other = (make_sequence(stored_dataset, **settings) for _ in range(2))
    one.on_epoch_end()
    other.epoch = 1
    for (inputs, labels), (other_inputs, other_labels) in zip(
        batches(one), batches(other), strict=True
    ):
        assert np.array_equal(inputs, other_inputs) and np.array_equal(labels, other_labels)


def test_epochs_and_seeds_differ_and_hold_every_clip_once(stored_dataset):
    def order(seed, epoch):
        sequence = make_sequence(stored_dataset, seed=seed, first_epoch=epoch)
        return [clip.tobytes() for inputs, _ in batches(sequence) for clip in inputs]

    orders = [order(0, 0), order(0, 1), order(1, 0)]
    assert len({tuple(one) for one in orders}) == 3
    assert len({tuple(sorted(one)) for one in orders}) == 1


def test_labels_stay_with_their_clips_when_shuffled(stored_dataset):
    sequence = make_sequence(stored_dataset, "flow", seed=3)
    for inputs, labels in batches(sequence):
        # the square of `left` moves to negative x
        moves_right = inputs[:, 1:, 8:24, 8:24, 0].mean(axis=(1, 2, 3)) > 0
        assert np.array_equal(moves_right, labels[:, 1] == 1)


def test_augmentation_moves_the_crop_and_changes_brightness(stored_dataset):
    plain = make_sequence(stored_dataset, seed=0)[0][0]
    changed = make_sequence(stored_dataset, seed=0, augment="weak")[0][0]
    assert changed.shape == plain.shape and np.abs(changed).max() <= 1
    # the dark ground in a corner of the first frame
    shift = (changed - plain)[:, 0, 0, 0, 0]
    assert (np.abs(shift) > 1e-4).all() and np.abs(shift).max() <= 0.13 and len(set(shift)) == 3


def test_flipping_reverses_half_of_the_motion(stored_dataset):
    sequence = make_sequence(
        stored_dataset, "flow", seed=0, augment="weak", flip=True, batch_size=8
    )
    wrong = 0
    for epoch in range(6):
        sequence.epoch = epoch
        inputs, labels = sequence[0]
        moves_right = inputs[:, 1:, 8:24, 8:24, 0].mean(axis=(1, 2, 3)) > 0
        wrong += np.sum(moves_right != (labels[:, 1] == 1))
    assert 12 <= wrong <= 36


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_strong_augmentation_is_what_another_camera_sees(stored_dataset, stream):
    sequence = make_sequence(stored_dataset, stream, seed=0, augment="strong")
    clip = sequence.clips[sequence._order()[0]]
    stored = opticalflow.load_clip(stream, clip.path)
    random = np.random.default_rng([0, 0, sequence._order()[0]])
    expected, _ = augmentation.vary(stream, stored, 32, 32, random)
    assert np.array_equal(sequence[0][0][0], expected)


def test_an_augmentation_that_there_is_not_is_refused(stored_dataset):
    with pytest.raises(ValueError, match="augment is one of none, weak, strong"):
        make_sequence(stored_dataset, augment=True)


def test_strong_augmentation_mirrors_half_of_the_clips(stored_dataset):
    straight, flipped = (
        make_sequence(stored_dataset, "flow", seed=0, augment="strong", flip=flip, batch_size=8)
        for flip in (False, True)
    )
    number = 0
    for epoch in range(6):
        straight.epoch = flipped.epoch = epoch
        for clip, other in zip(straight[0][0], flipped[0][0], strict=True):
            is_mirrored = np.array_equal(other, network_input.mirrored("flow", clip))
            assert is_mirrored or np.array_equal(other, clip)
            number += is_mirrored
    assert 12 <= number <= 36


def test_reading_ahead_with_threads_gives_the_same_batches(stored_dataset):
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    plain = make_sequence(stored_dataset, seed=1)
    adapter = PyDatasetAdapter(make_sequence(stored_dataset, seed=1, workers=2), shuffle=False)
    adapter.on_epoch_begin()
    ahead = list(adapter.get_numpy_iterator())
    for (inputs, labels), batch in zip(batches(plain), ahead, strict=True):
        assert np.array_equal(inputs, batch[0]) and np.array_equal(labels, batch[1])


@pytest.mark.parametrize(
    ("stream", "number", "words"),
    [
        ("rgb", 3, "right/1 has 7 pictures, and one is missing"),
        ("rgb", 7, "right/1 has pictures of shape .7, .* other clips of .8, "),
        ("flow", 2, "right/1 has 7 pictures, and one is missing"),
        ("rgb", None, "right/1/frame0003.jpg is not a readable image"),
    ],
)
def test_pictures_that_are_missing_or_empty_are_named(
    stored_dataset, tmp_path, stream, number, words
):
    shutil.copytree(stored_dataset.root, tmp_path / "root")
    dataset = data.Dataset("moves", root=tmp_path / "root")
    dataset.preset = TINY
    name = {"rgb": "frame", "flow": "flow"}[stream]
    folder = dataset.stored_dir(stream) / "train" / "right" / "1"
    if number is None:
        (folder / "frame0003.jpg").write_bytes(b"")
    else:
        (folder / f"{name}{number:04d}.jpg").unlink()
    with pytest.raises(ValueError, match=f"{words}.*run frame.py and opticalflow.py"):
        batches(make_sequence(dataset, stream))


def test_unknown_signs_and_empty_lists_are_refused(stored_dataset):
    clips = stored_dataset.stored_clips("rgb")
    with pytest.raises(ValueError, match="unknown signs: right"):
        ClipSequence(clips, ["left"], "rgb", (32, 32), 2)
    with pytest.raises(ValueError, match="No clips"):
        ClipSequence([], ["left"], "rgb", (32, 32), 2)


def test_batches_for_several_devices_have_equal_parts(stored_dataset):
    sequence = make_sequence(stored_dataset, batch_size=6, seed=0, multiple_of=3)
    assert [len(inputs) for inputs, _ in batches(sequence)] == [6]
    with pytest.raises(ValueError, match="Too few clips for 9 devices. Found: 8"):
        make_sequence(stored_dataset, multiple_of=9)
