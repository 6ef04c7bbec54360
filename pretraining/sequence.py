"""Feeds clips to Keras for pre-training: which sign it is, and what the hands do at every step."""

import keras
import numpy as np

from feeding.augmentation import vary

STEP_FRAMES = 8  # frames that a step of I3D's features is about
MOMENTS = (2, 6, 10, 14)  # of a step, in frames from its first one, that it must know


class VariedSequence(keras.utils.PyDataset):
    """Batches of one stream's input, with the one-hot sign and, where they are known, the hands.

    Args:
        clips: list of (what `read` takes, number of the sign).
        read: function that returns what is stored of a clip, uint8 `(num_frames, height, width,
            channels)`, and what is known of it: {"hands": float32 `(num_frames, numbers)`,
            "traits": float32 `(answers,)`}, or nothing.
        num_signs: number of classes.
        stream: "rgb" or "flow".
        input_size: (height, width) that the network sees.
        num_steps: of the network's features.
        batch_size: clips per batch; those that fill no batch are left out in this epoch.
        seed: of order and augmentation, which depend on nothing else but the epoch.
    """

    def __init__(self, clips, read, num_signs, stream, input_size, num_steps, batch_size, seed):
        super().__init__(workers=1, max_queue_size=4)
        self.clips, self.read, self.num_signs = clips, read, num_signs
        self.stream, self.input_size, self.num_steps = stream, input_size, num_steps
        self.batch_size, self.seed, self.epoch = min(batch_size, len(clips)), seed, 0

    @property
    def num_batches(self):
        return len(self.clips) // self.batch_size

    def __getitem__(self, index):
        """One batch: inputs, and {"sign": one-hot, "hands": `(batch, steps, numbers)`, ...}."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.clips))
        picked = order[index * self.batch_size :][: self.batch_size]
        inputs, known = zip(*(self._clip(number) for number in picked), strict=True)
        signs = [self.clips[number][1] for number in picked]
        targets = {"sign": keras.utils.to_categorical(signs, self.num_signs).astype(np.float32)}
        targets |= {name: np.stack([each[name] for each in known]) for name in known[0]}
        return np.stack(inputs), targets

    def _clip(self, number):
        stored, known = self.read(self.clips[number][0])
        random = np.random.default_rng([self.seed, self.epoch, number])
        seen, times = vary(self.stream, stored, *self.input_size, random)
        if "hands" in known:
            known = {**known, "hands": hands_by_step(known["hands"][times], self.num_steps)}
        return seen, known


def hands_by_step(hands, num_steps):
    """`(num_frames, numbers)` to `(num_steps, len(MOMENTS) * numbers)`."""
    moments = np.arange(num_steps)[:, None] * STEP_FRAMES + MOMENTS
    return hands[np.minimum(moments, len(hands) - 1)].reshape(num_steps, -1)
