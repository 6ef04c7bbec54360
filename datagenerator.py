"""Feeds stored frames or flow to Keras, clip by clip, batch by batch.

    sequence = ClipSequence(clips, labels, "rgb", (224, 224), batch_size=4, seed=0, augment="weak")
    model.fit(sequence, shuffle=False)

Order and augmentation depend on nothing but the seed, the epoch and the clip, so an epoch can be
repeated exactly.
"""

import keras
import numpy as np

from common.network_input import mirrored, stream_input
from feeding.augmentation import AUGMENTATIONS, vary
from frame import MAKE_ANEW
from opticalflow import load_clip

TIME_SHIFT_RANGE = 0.1  # of the clip's length
BRIGHTNESS_RANGE = 0.1  # of the values in [-1, 1]
CACHE_BYTES = 1 << 30  # a data set whose stored clips fit stays in memory


class ClipSequence(keras.utils.PyDataset):
    """Batches of one stream's input and one-hot labels.

    Args:
        clips: list of `dataset.Clip`, folders of stored frames ("rgb") or flow ("flow").
        labels: class labels in the order of the network's outputs.
        stream: "rgb" or "flow".
        input_size: (height, width) that the network sees.
        batch_size: clips per batch; the last batch of an epoch may be smaller.
        seed: of the shuffling and the augmentation; None keeps the order of `clips`.
        augment: one of `augmentation.AUGMENTATIONS`. "weak": move the crop, begin a little earlier
            or later and, for RGB, change the brightness a little. "strong": `augmentation.vary`.
        flip: mirror half of the clips; only where signs keep their meaning; not with "none".
        first_epoch: epoch to begin with.
        workers: threads that read ahead.
        multiple_of: every batch has a multiple of so many clips, for devices that share it; the
            last clips of an epoch are left out for that. `batch_size` must be such a multiple.

    Raises:
        ValueError: there are no clips, or one has a label that is not in `labels`; or there is no
            such augmentation.
    """

    def __init__(
        self,
        clips,
        labels,
        stream,
        input_size,
        batch_size,
        seed=None,
        augment="none",
        flip=False,
        first_epoch=0,
        workers=1,
        multiple_of=1,
    ):
        super().__init__(workers=workers, max_queue_size=4)
        unknown = sorted({clip.label for clip in clips} - set(labels))
        if unknown:
            raise ValueError(f"Clips of unknown signs: {', '.join(unknown[:5])}")
        if not clips:
            raise ValueError("No clips.")
        if augment not in AUGMENTATIONS:
            raise ValueError(f"augment is one of {', '.join(AUGMENTATIONS)}. Received: {augment}")
        if len(clips) < multiple_of:
            raise ValueError(f"Too few clips for {multiple_of} devices. Found: {len(clips)}.")
        self.labels = list(labels)
        self.multiple_of = multiple_of
        self.num_used = len(clips) - len(clips) % multiple_of
        self.clips = list(clips)
        self.classes = np.array([labels.index(clip.label) for clip in clips])
        self.num_classes = len(labels)
        self.stream = stream
        self.input_size = tuple(input_size)
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.flip = flip
        self.epoch = first_epoch
        self._cache = {}
        self._shape = None  # of the stored clips

    @property
    def num_batches(self):
        return -(-self.num_used // self.batch_size)

    def __getitem__(self, index):
        """One batch: inputs `(batch, num_frames, height, width, channels)` and one-hot labels."""
        first = index * self.batch_size
        picked = self._order()[first : min(first + self.batch_size, self.num_used)]
        inputs = np.stack([self._input(clip_number) for clip_number in picked])
        one_hot = np.eye(self.num_classes, dtype=np.float32)[self.classes[picked]]
        return inputs, one_hot

    def on_epoch_end(self):
        self.epoch += 1

    def _order(self):
        if self.seed is None:
            return np.arange(len(self.clips))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.clips))

    def _input(self, clip_number):
        clip = self._load(clip_number)
        random = np.random.default_rng([self.seed or 0, self.epoch, clip_number])
        if self.augment == "strong":
            seen, _ = vary(self.stream, clip, *self.input_size, random)
            return mirrored(self.stream, seen) if self._is_flipped(random) else seen
        settings = {}
        if self.augment == "weak":
            most = int(len(clip) * TIME_SHIFT_RANGE)
            clip = shift_in_time(clip, random.integers(-most, most + 1))
            # The narrower margin in both directions keeps the signer in view.
            margin = min(np.subtract(clip.shape[1:3], self.input_size)) // 2
            settings["offset"] = tuple(random.integers(-margin, margin + 1, 2))
            if self.stream == "rgb":
                settings["brightness"] = random.uniform(-BRIGHTNESS_RANGE, BRIGHTNESS_RANGE)
            settings["flip"] = self._is_flipped(random)
        return stream_input(self.stream, clip, *self.input_size, **settings)

    def _is_flipped(self, random):
        return self.flip and random.random() < 0.5

    def _load(self, clip_number):
        """Stored uint8 frames or flow codes, `(num_frames, height, width, channels)`."""
        if clip_number in self._cache:
            return self._cache[clip_number]
        clip = self._read(clip_number)
        if clip.nbytes * len(self.clips) <= CACHE_BYTES:
            self._cache[clip_number] = clip
        return clip

    def _read(self, clip_number):
        clip = load_clip(self.stream, self.clips[clip_number].path)
        if self._shape not in (None, clip.shape):
            raise ValueError(
                f"{self.clips[clip_number].path} has pictures of shape {clip.shape}, other clips "
                f"of {self._shape}. {MAKE_ANEW}"
            )
        self._shape = clip.shape
        return clip


class FeatureSequence(ClipSequence):
    """Batches of stored features and one-hot labels, in the order of another sequence.

    Args:
        sequence: `ClipSequence` of the clips.
        paths: `.npy` file of every clip.
        input_shape: of one clip's features, as the network takes them; what is stored is repeated
            to fill it.
    """

    def __init__(self, sequence, paths, input_shape):
        super().__init__(
            sequence.clips,
            list(sequence.labels),
            sequence.stream,
            sequence.input_size,
            sequence.batch_size,
            sequence.seed,
            workers=sequence.workers,
            multiple_of=sequence.multiple_of,
        )
        self.paths = paths
        self.input_shape = tuple(input_shape)

    def _input(self, clip_number):
        features = self._load(clip_number)
        try:
            return np.broadcast_to(features, self.input_shape).astype(np.float32)
        except ValueError as error:
            raise ValueError(
                f"{self.paths[clip_number]} holds features of shape {features.shape}, expected "
                f"{self.input_shape}. Make them anew: feature.py --rebuild."
            ) from error

    def _read(self, clip_number):
        return np.load(self.paths[clip_number], allow_pickle=False)


def shift_in_time(clip, num_frames):
    """The clip `num_frames` later, or earlier where that is negative; its ends are repeated."""
    picked = np.arange(len(clip)) - num_frames
    return clip[np.clip(picked, 0, len(clip) - 1)]
