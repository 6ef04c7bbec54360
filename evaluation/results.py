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

    Args:
        run: `run_folder.Run`.
        split: that was judged.
        clips: {split: list of clips} that the data set has.
    """
    is_best = split == best_split([name for name in clips if clips[name]])
    return run.folder / ("confusion.png" if is_best else f"confusion-{split}.png")


def keep_picture(run, split):
    """Gives confusion.png the name of its split, where `split` tells more than what was judged."""
    judged, path = read(run), run.folder / "confusion.png"
    if judged and path.is_file() and (before := best_split(judged)) != split:
        path.replace(run.folder / f"confusion-{before}.png")


def chance(run):
    """The accuracy of guessing."""
    return 1 / len(run.signs)


def is_guessing(run, result):
    """Whether the fused top-1 is no more than chance, or of many clips what chance can bring."""
    number = result["num_videos"]
    right = result["streams"]["fused"]["top1"] * number
    is_above = right > number * chance(run)
    is_few = number < FEW_CLIPS and is_above or number <= _most_by_chance(run, number)
    return not is_few and right <= _most_by_chance(run, number)


def is_too_few(run, result):
    """Whether the clips are too few to tell their fused top-1 from guessing."""
    number = result["num_videos"]
    right = result["streams"]["fused"]["top1"] * number
    return right <= _most_by_chance(run, number) and not is_guessing(run, result)


def _most_by_chance(run, number):
    share = chance(run)
    return number * share + GUESSING_DEVIATIONS * math.sqrt(number * share * (1 - share))
