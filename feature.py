"""Features of every stored clip, computed once, so that a new top trains in seconds.

    python feature.py --dataset my_signs
    python feature.py --dataset my_signs --extractor i3d

reads   data_temp/<dataset>/<preset>/{frame,oflow}/<split>/<class>/<video>/*.jpg
writes  data_temp/<dataset>/<preset>/{frame,oflow}-<extractor>/<split>/<class>/<video>.npy

float16 (frames, features): a row per frame of a MobileNet or of hog_hof (what frames look like and
how they move, without a network), one row per video of I3D, two of signs, the small I3D that has
learned signing from drawn people: of the video as it is, and mirrored, without Keras.
`parameters.json` beside them says which network made them.
"""

from common import command_line  # isort: split

import concurrent.futures
import functools
import io

import numpy as np

import i3d_weights
from cluster import connection
from common import dataset as data
from common import disk, network_input, stage
from common.command_line import SEED, number_of, quote
from common.network_input import STREAMS
from common.presets import MOBILE_LSTM_PRESETS
from inference.extractor import (
    EXTRACTORS,
    HOG_HOF,
    SIGNS,
    SignsNetwork,
    find_weights,
    maker,
    seen_size,
)
from nearest import descriptor
from opticalflow import load_clip
from weights.files import fingerprint

THREADS_PER_WORKER = 4  # that read clips while the network computes: enough to fill a batch


def extract_features(
    dataset,
    stream,
    extractor="mobilenet",
    weights=None,
    seed=0,
    workers=None,
    rebuild=False,
):
    """Computes the features of every stored clip of one stream; finished clips are skipped.

    Args:
        dataset: `dataset.Dataset`.
        stream: "rgb" or "flow".
        extractor: one of `EXTRACTORS`.
        weights: "imagenet" (of I3D: "kinetics"), "none", or a path; by default the preset's.
        seed: of random weights.
        workers: threads, by default one per core.
        rebuild: delete what is there first.

    Returns:
        `stage.Report`.

    Raises:
        FileNotFoundError: no frames, no flow, or no weights.
        ValueError: the folder holds features of another network.
    """
    clips = dataset.stored_clips(stream)
    if stream == "flow" and dataset.frame_dir.is_dir():
        if without := len(dataset.stored_clips("rgb")) - len(clips):
            hint = f"`python opticalflow.py {dataset.flags()}` makes it"
            dataset.tell_once(f"{number_of(without, 'clip')} without flow: {hint}.")
    weights = weights or default_weights(dataset, extractor)
    parameters = feature_parameters(dataset, stream, extractor, weights, seed)
    folder = dataset.feature_dir(stream, extractor)
    differing = disk.differing_parameters(folder, parameters)
    if weights == i3d_weights.SIGNS and differing and {*differing} <= {"views", "weights"}:
        dataset.tell_once(f"{folder}: made anew, for this project's network says other things now.")
        rebuild = True
    jobs = [
        stage.Job(clip.path, feature_file(folder, clip), str(clip.path), disk.stamp_of(clip.path))
        for clip in clips
    ]
    workers = workers or stage.num_cores()
    batches = maker(dataset.preset, stream, extractor, weights, seed)
    has_new = rebuild or not all(job.target.exists() for job in jobs)
    if has_new:
        batches.open()  # weights that do not fit are told before anything is deleted or written
    disk.claim(folder, parameters, command(dataset, extractor, weights, seed), rebuild)
    size = seen_size(dataset.preset, extractor)
    write_one = functools.partial(
        write_features, stream=stream, preset=dataset.preset, batches=batches, size=size
    )
    name = f"feature {stream}"
    stage.remove_orphans(name, folder, jobs)
    if stage.is_elsewhere():
        with disk.partial_dir(folder) as shared:
            if has_new:
                batches.share(shared)
            return stage.run(name, write_one, jobs, folder)
    with concurrent.futures.ThreadPoolExecutor(workers * THREADS_PER_WORKER) as threads:
        return stage.run(
            name, write_one, jobs, folder, workers * THREADS_PER_WORKER // 2, executor=threads
        )


def extract_streams(dataset, options, *extractors):
    """`extract_features` of the streams that a training is about.

    Args:
        dataset: `dataset.Dataset`.
        options: `TrainingOptions`.
        extractors: some of `EXTRACTORS`.

    Returns:
        one `stage.Report` for all.
    """
    settings = options.weights, options.seed, options.workers
    reports = [
        extract_features(dataset, stream, extractor, *settings)
        for extractor in extractors
        for stream in options.streams
    ]
    total = reports[0]
    for report in reports[1:]:
        total.done += report.done
        total.skipped += report.skipped
        total.failed += report.failed
    return total


def default_weights(dataset, extractor):
    """The weights that training of this preset begins with."""
    if extractor == HOG_HOF:
        return "none"
    if extractor == SIGNS:
        return i3d_weights.SIGNS
    if extractor == "i3d":
        return dataset.preset.weights
    return MOBILE_LSTM_PRESETS[dataset.preset.name].weights


def feature_parameters(dataset, stream, extractor, weights, seed):
    """What the content of a feature folder depends on; without importing Keras.

    Raises:
        FileNotFoundError, ValueError: the weights are not there, or are of another kind.
    """
    preset = dataset.preset
    path = find_weights(preset, stream, extractor, weights)
    if extractor == HOG_HOF:
        return {
            "extractor": extractor,
            "input_size": seen_size(preset, extractor),
            **descriptor.parameters(stream),
            "source": disk.read_parameters(dataset.stored_dir(stream)),
        }
    if extractor == SIGNS:
        return {
            "extractor": extractor,
            "weights": fingerprint(path),
            "input_size": seen_size(preset, extractor),
            "views": SignsNetwork.views,
            "source": disk.read_parameters(dataset.stored_dir(stream)),
        }
    return {
        "extractor": extractor,
        "weights": fingerprint(path),
        "seed": seed if path is None else None,
        "width_multiplier": preset.width_multiplier,
        "input_size": preset.input_size,
        "subtract_mean": extractor == "i3d" and stream == "rgb" and preset.subtract_mean,
        "source": disk.read_parameters(dataset.stored_dir(stream)),
    }


def command(dataset, extractor, weights, seed=0):
    """The command that makes these features."""
    flags = f" --weights {quote(weights)}" if weights != default_weights(dataset, extractor) else ""
    flags += f" --seed {seed}" if seed else ""
    extractor = "" if extractor == "mobilenet" else f" --extractor {extractor}"
    return f"python feature.py {dataset.flags()}{extractor}{flags}"


def check(dataset, extractor, weights, streams, seed=0):
    """Checks, without Keras, that the features of all clips are stored and fit.

    Args:
        dataset, extractor, weights, seed: as in `extract_features`: of the training.
        streams: "rgb" and "flow", or one of them.

    Raises:
        FileNotFoundError: some clips have none; the message says how to make them.
        ValueError: they were made with another network.
    """
    recommended = command(dataset, extractor, weights, seed)
    for stream in streams:
        clips = dataset.stored_clips(stream)
        folder = dataset.feature_dir(stream, extractor)
        wanted = feature_parameters(dataset, stream, extractor, weights, seed)
        if folder.is_dir():
            disk.claim(folder, wanted, recommended)
        paths = [feature_file(folder, clip) for clip in clips]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(clips)} clips have no features, such as {missing[0]}. "
                f"Run `{recommended}` first."
            )


def files(run, stream, clips, extractor):
    """The feature files of the clips that a run is trained on, in their order."""
    dataset = run.clips_of()
    folder = dataset.feature_dir(stream, extractor)
    return [feature_file(folder, clip) for clip in clips]


def feature_file(folder, clip):
    """Where a clip's features lie below a feature folder."""
    return folder / f"{clip.place()}.npy"


def write_features(source, partial, stream, preset, batches, size):
    """One job of the stage: the folder of JPEGs `source` to the new file `partial`."""
    stored = load_clip(stream, source, preset.num_frames)
    clip = network_input.stream_input(stream, stored, *size)
    file = io.BytesIO()
    np.save(file, batches.features(clip).astype(np.float16))
    partial.write_bytes(file.getvalue())


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {**data.OPTIONS, **stage.OPTIONS, **connection.OPTIONS})
    parser.add_argument(
        "--extractor", choices=EXTRACTORS, default="mobilenet", help="default: mobilenet"
    )
    parser.add_argument(
        "--weights",
        help="imagenet (of i3d: kinetics or signs), none, or a file (default: imagenet, laptop: "
        "none; of i3d kinetics, laptop: signs; of signs: signs)",
    )
    parser.add_argument(
        "--stream", choices=[*STREAMS, "both"], default="both", help="default: both"
    )
    parser.add_argument("--seed", type=SEED, default=0, help="of random weights (default: 0)")
    args = parser.parse_args(argv)
    dataset = data.Dataset(args.dataset, args.preset, stored=args.stored)
    streams = STREAMS if args.stream == "both" else (args.stream,)
    settings = args.extractor, args.weights, args.seed, args.workers, args.rebuild
    with connection.used(args.cluster):
        reports = [extract_features(dataset, stream, *settings) for stream in streams]
    return max(report.exit_status for report in reports)


if __name__ == "__main__":
    command_line.run(main)
