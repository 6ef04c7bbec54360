"""Stage 4 of 5 without training: the clips themselves are what a new clip is compared with.

    python train_nearest.py --dataset my_signs --preset laptop

reads   data_temp/<dataset>/<preset>/{frame,oflow}-{hog_hof,signs}/<split>/<class>/<video>.npy
        (feature.py)
writes  model/<run>/  rgb.npz flow.npz run.json

The nearest clip names the sign, by how its frames look (rgb) and how they move (flow), whatever the
speed; one clip of a sign is enough. With `--preset laptop`, a network that has learned signing from
drawn people is asked, too. See nearest/. It takes seconds.
"""

from common import command_line  # isort: split

import dataclasses
import time

import numpy as np

import feature
import frame
import opticalflow
import predict
from common import dataset as data
from common import disk, stage
from common.command_line import (
    add_flags,
    documented,
    from_flags,
    options_of,
    quote,
    telling,
)
from common.network_input import STREAMS
from common.presets import NEAREST_PRESETS
from inference import run_folder
from inference.engine import ExampleNetwork, comparison_of
from inference.extractor import can_use_signs
from nearest import comparison, files
from nearest.comparison import HOG_HOF, SIGNS
from training import start
from training.options import RunOptions
from training.run import run_dir

# Share of rgb where no sign has two clips to choose it by, if only looks and only changes count.
FUSION_WEIGHTS = 0.65, 0.45


@documented
@dataclasses.dataclass(frozen=True)
class NearestOptions(RunOptions):
    """What a run of the nearest clip can be told."""

    workers: int | None = stage.OPTIONS["workers"].field()

    weights = None  # what `feature.extract_streams` asks
    seed = 0
    val_fraction = 0.0  # leaving clips out takes the place of validation

    def recorded(self):
        """Nothing: the files of a run tell by what clips are compared."""
        return {}


def train(dataset, options=None):
    """Makes a run of the training clips, whose features are stored; the same one stays as it is.

    Args:
        dataset: `Dataset` with one of `NEAREST_PRESETS`.
        options: `NearestOptions`.

    Returns:
        `stage.Report`; its output is the run's folder.

    Raises:
        FileNotFoundError: frames, flow or features are not there.
        ValueError: the features were made otherwise, or the run is busy or no run of this kind.
    """
    options = options or NearestOptions()
    started = time.monotonic()
    dataset.refuse_if_unknown()
    stored = start.stored_clips(dataset, options.streams)
    for extractor in extractors(dataset.preset):
        weights = feature.default_weights(dataset, extractor)
        feature.check(dataset, extractor, weights, options.streams)
    folder = run_dir(dataset, run_folder.NEAREST, options.run)
    run = start.new_run(folder, dataset, run_folder.NEAREST, stored, options, {}, min_signs=1)
    _refuse_other_run(run)
    clips = {stream: start.split(stored.clips[stream], 0)[0] for stream in options.streams}
    read = {stream: _read(run, stream, each) for stream, each in clips.items()}
    made_of = {stream: files.digest_of(*each, len(run.signs)) for stream, each in read.items()}
    run.data["made_of"] = made_of
    num_clips, is_new = run.data["train"], not _is_there(run)
    if is_new:
        with telling("nearest: comparing the clips with each other ..."):
            known = {stream: _known_clips(run, stream, *each) for stream, each in read.items()}
            run.fusion_weight = fusion_weight(known)
        _write(run, known)
    numbers = {"done" if is_new else "skipped": num_clips}
    report = stage.Report("nearest", folder, **numbers)
    report.seconds = time.monotonic() - started
    report.print()
    return report


def extractors(preset):
    """What makes the rows by which clips are compared."""
    return (HOG_HOF, SIGNS) if can_use_signs(preset) else (HOG_HOF,)


def _read(run, stream, clips):
    """(rows, classes) of clips, as of `comparison.fit`."""
    rows = {
        name: np.stack([np.load(path) for path in feature.files(run, stream, clips, name)])
        for name in extractors(run.preset)
    }
    return rows, [run.labels.index(clip.label) for clip in clips]


def _known_clips(run, stream, rows, classes):
    """`Comparison` with the stored clips of a data set."""
    examples = comparison.fit(stream, rows, classes, len(run.signs))
    return comparison_of(stream, examples, run.preset.input_size)


def _is_there(run):
    """Whether the run's folder holds it, whole, as an earlier start left it.

    That saves the live demo half of its start: nothing is to be compared, which Numba does.
    """
    try:
        there = run_folder.Run.read(run.folder)
        for stream in there.streams:
            files.load(there.model_file(stream), len(there.signs))
    except (OSError, ValueError):
        return False
    if not there.finished or set(there.streams) != set(run.data["made_of"]):
        return False
    told = [(each.data, each.signs, each.flow, each.preset) for each in (there, run)]
    return told[0] == told[1]


def _write(run, known):
    """Writes the run with its {stream: `Comparison`}."""
    run.finished = True
    run.folder.mkdir(parents=True, exist_ok=True)
    with disk.lock(run.folder / ".lock", f"Another process makes {run.folder}."):
        for stream, found in known.items():
            files.save(run.model_file(stream), found)
        for stream in set(STREAMS) - set(known):
            run.model_file(stream).unlink(missing_ok=True)
        run.write()


def fusion_weight(known):
    """The share of the RGB stream that names left out clips best.

    Args:
        known: {stream: `Comparison`}.
    """
    if len(known) < 2:
        return 0.5
    if not len(known["rgb"]):
        return FUSION_WEIGHTS[0]
    left_out = {stream: found.left_out() for stream, found in known.items()}
    _, classes = left_out["rgb"]
    if not len(classes):
        moving = known["rgb"].examples[HOG_HOF].share_of_changes
        return round((1 - moving) * FUSION_WEIGHTS[0] + moving * FUSION_WEIGHTS[1], 2)
    return predict.choose_fusion_weight(
        {name: each for name, (each, _) in left_out.items()}, classes
    )


def open_dataset(dataset, workers=None):
    """What recognises by the training videos of a data set as they are now, also where none is.

    Args:
        dataset: `Dataset` with one of `NEAREST_PRESETS`.
        workers: number of processes for videos that are new.

    Returns:
        `predict.Recognizer`.
    """
    if not dataset.has_videos() or not any(each.split == "train" for each in dataset.videos()):
        return without_clips(dataset)
    options = NearestOptions(workers=workers)
    frame.extract_frames(dataset, workers=workers)
    opticalflow.extract_flow(dataset, workers=workers)
    feature.extract_streams(dataset, options, *extractors(dataset.preset))
    return predict.Recognizer(train(dataset, options).output)


def without_clips(dataset):
    """A `predict.Recognizer` that knows nothing yet."""
    run = run_folder.Run(
        folder=run_dir(dataset, run_folder.NEAREST),
        architecture=run_folder.NEAREST,
        dataset=dataset.name,
        preset=dataset.preset,
        signs=[],
        flow={"algorithm": "tvl1"},
        data={},
        options={},
    )
    rows = dict.fromkeys(extractors(run.preset), ())
    none = {stream: comparison.fit(stream, rows, [], 0) for stream in STREAMS}
    size = run.preset.input_size
    return _recognizer(run, {s: comparison_of(s, found, size) for s, found in none.items()})


def with_clip(recognizer, label, frames):
    """The same, taught one more clip.

    Args:
        recognizer: `predict.Recognizer` of a nearest run.
        label: of its sign, which may be new.
        frames: uint8 BGR `(any number, any height, any width, 3)`.

    Returns:
        a new `predict.Recognizer`; the other one stays as it is.
    """
    clip = recognizer.stream(len(frames))
    for image in frames:
        clip.add(image)
    signs = list(recognizer.run.signs)
    if label not in recognizer.run.labels:
        signs += recognizer.run.clips_of().signs([label])
    number = [sign.label for sign in signs].index(label)
    known = {
        stream: recognizer.networks[stream].comparison.with_clip(features, number, len(signs))
        for stream, features in clip.features().items()
    }
    return _recognizer(recognizer.run, known, signs)


def without_last_clip(recognizer):
    """The same without the clip that it was taught last, and without its sign if there is no other.

    Returns:
        a new `predict.Recognizer`.
    """
    networks = recognizer.networks
    classes = next(iter(networks.values())).comparison.classes
    signs = list(recognizer.run.signs)
    if classes[-1] not in classes[:-1]:
        del signs[classes[-1]]  # signs are learned in their order: it is the last one
    known = {
        stream: network.comparison.without_last(len(signs)) for stream, network in networks.items()
    }
    return _recognizer(recognizer.run, known, signs)


def _recognizer(run, known, signs=()):
    run = dataclasses.replace(run, signs=list(signs))
    if all(found.is_refitted for found in known.values()):
        run.fusion_weight = fusion_weight(known)
    networks = {stream: ExampleNetwork(found) for stream, found in known.items()}
    return predict.Recognizer.of(run, networks)


def _refuse_other_run(run):
    """Raises ValueError where the run's folder holds a trained network, or what nobody knows."""
    if not (run.folder / "run.json").is_file():
        return
    there = run_folder.Run.read(run.folder)
    if there.architecture != run.architecture:
        raise ValueError(
            f"{run.folder} holds a run of train_{there.architecture}.py. Choose another name: "
            "--run NAME."
        )


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    add_flags(parser, {**data.OPTIONS, **options_of(NearestOptions)})
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset, args.preset, presets=NEAREST_PRESETS, stored=args.stored)
    run = train(dataset, from_flags(NearestOptions, args)).output
    print(f"Next: python evaluate.py --model {quote(run)}")


if __name__ == "__main__":
    command_line.run(main, goes_on="")
