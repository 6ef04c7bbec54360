"""Which clips make up a drawn data set: who performs what, in which split."""

import dataclasses
import random

from common.dataset import SPLITS
from toy import gesture

NUM_SIGNERS = (40, 8, 12)  # train, val, test; nobody is in two of them
CLIPS_PER_FOLDER = 200
FIRST_FOLDER = {"train": "train", "val": "valid", "test": "test"}  # as ChaLearn calls them


@dataclasses.dataclass(frozen=True)
class Plan:
    """One clip to render. `number` counts from 1 within its split, and `label` is 1 to 8."""

    split: str
    number: int
    label: int
    signer_seed: str
    clip_seed: str

    def member(self, kind):
        """The path in the zip and the list of the "M" (colour) or "K" (depth) video."""
        folder = (self.number - 1) // CLIPS_PER_FOLDER + 1
        return f"{FIRST_FOLDER[self.split]}/{folder:03d}/{self.file_name(kind)}"

    def file_name(self, kind):
        return f"{kind}_{self.number:05d}.avi"


def plan_split(split, seed, clips_per_sign):
    """The clips of one split in their final order, shuffled over signs.

    Returns:
        list of `Plan`. Every sign is performed by the same signers, as far as numbers allow.
    """
    rng = random.Random(f"{seed} {split}")
    number = SPLITS.index(split)
    first = sum(NUM_SIGNERS[:number])
    signers = list(range(first, first + NUM_SIGNERS[number]))
    rng.shuffle(signers)
    clips = [
        (
            label,
            f"{seed} signer {signers[repeat % len(signers)]}",
            f"{seed} {split} {name} {repeat}",
        )
        for label, name in enumerate(gesture.SIGNS, start=1)
        for repeat in range(clips_per_sign)
    ]
    rng.shuffle(clips)
    return [Plan(split, number, *clip) for number, clip in enumerate(clips, start=1)]
