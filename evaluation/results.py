"""What evaluations of a run found: evaluation.json, a result for each split that was judged.

    {"test": {"num_videos": 96, "clips": "<digest>",
              "streams": {"rgb" | "flow" | "fused": {"top1", "top5", "macro_recall"}},
              "nearest": {"top1", "network", "num_videos", "num_examples"},
              "unknown": {"lost", "refused", "area"},
              "new_people": {"num_people", "num_videos", "top1"}}}

`new_people` is of clips of people of whom no clip was trained on, see `metrics.of_new_people`;
`nearest` is the baseline of a network, see `evaluation/baseline.py`; `unknown` is of runs that can
tell that a clip shows none of their signs, see `metrics.score_nearest`.

Judging a split again replaces its result; those of other splits stay. `clips` stands for the clips
that were judged, so that a result is known to be old when they are others.
"""

import json
import math

from common import disk

ORDER = ("test", "val", "train")  # which split tells most
FILE = "evaluation.json"
GUESSING_DEVIATIONS = 1.64  # above chance; one in twenty who guess get that far
FEW_CLIPS = 20  # with fewer, what is above chance is not called guessing
GUESSING = "That is no better than guessing."
TOO_FEW = "Too few clips to tell that from guessing."


def read(run):
    """{split: result} of a run, {} where nothing was judged; also of files with one split."""
    path = run.folder / FILE
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if "split" in content:  # as they were before December 2026
        return {content.pop("split"): content}
    return content


def write(run, split, result):
    """Adds the result of a split, or replaces it."""
    results = {**read(run), split: result}
    disk.write_atomically(run.folder / FILE, json.dumps(results, indent=1) + "\n")


def best_split(results):
    """The split that tells most about new clips."""
    return next(split for split in ORDER if split in results)


def picture(run, split, clips):
    """The path of the picture of confusions: confusion.png is of the split that tells most.

    What confusion.png was of before gets the name of its own split.

    Args:
        run: `run_folder.Run`.
        split: that was judged.
        clips: {split: list of clips} that the data set has.
    """
    if split != best_split([name for name in clips if clips[name]]):
        return run.folder / f"confusion-{split}.png"
    judged, path = read(run), run.folder / "confusion.png"
    if judged and path.is_file() and (before := best_split(judged)) != split:
        path.replace(run.folder / f"confusion-{before}.png")
    return path


def chance(run):
    """The accuracy of guessing."""
    return 1 / len(run.signs)


def beside_chance(run, result):
    """What the fused top-1 is beside guessing: `GUESSING`, `TOO_FEW`, or "" where it is better."""
    number, share = result["num_videos"], chance(run)
    right, expected = result["streams"]["fused"]["top1"] * number, number * share
    most = expected + GUESSING_DEVIATIONS * math.sqrt(expected * (1 - share))
    if len(run.signs) < 2 or right > most:
        return ""
    is_few = number <= most or (number < FEW_CLIPS and right > expected)
    return TOO_FEW if is_few else GUESSING
