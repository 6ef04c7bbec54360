"""The nearest clip: accuracy on changed clips, own and unknown signs, seconds to learn and answer.

    python pipeline_nearest.py --dataset karsl --preset laptop
    python -m benchmarks.nearest --dataset karsl
    python -m benchmarks.nearest --invented 0 1

The test clips of a run of train_nearest.py are changed as other cameras and other moods change
them, and named anew, their flow computed from the changed frames. Unknown: a random half of the
signs is known, ten times. Own signs are three that a drawn signer teaches; that signer and another
one then perform them, and the first one three that nobody has taught. Times are of random clips in
the size of `laptop`.

With --invented, nothing but this: of invented signs that the network has not learned, twenty are
known from one clip each, and another clip of each is named, by other people, whom it has not seen
either. Each seed draws 200 signs into data_temp/.
"""

import collections
import time

import cv2
import numpy as np

import frame
import predict
import train_nearest
from benchmarks.inference_server import peak_memory
from common import command_line
from common import dataset as data
from common.network_input import STREAMS, stream_input
from common.presets import NEAREST_PRESETS
from evaluation.comparison import NUM_ANSWERS, answer_once
from evaluation.metrics import inputs_of
from inference import extractor
from inference.engine import comparison_of
from nearest.comparison import fit
from nearest.examples import Examples
from pretraining import drawn
from pretraining.few_shot import TRIALS, WAYS
from toy import film

NUM_HALVES = 10
TAUGHT, OTHERS = ("wave", "circle", "swipe_up"), ("swipe_left", "clap", "swipe_down")
NUM_SIGNERS, NUM_TAUGHT = 3, (1, 3, 5)
NUM_ASKED, NUM_BY_ANOTHER, NUM_OTHERS = 6, 4, 5  # clips of each sign
NUM_CLIPS = (30, 1000)
WANTED_MS = {30: 50, 1000: 300}


def in_space(zoom, down, right):
    """A change of every picture: zoomed about its middle, then moved by shares of its size."""

    def change(frames):
        height, width = frames.shape[1:3]
        left = (1 - zoom) * (width - 1) / 2 + right * width
        top = (1 - zoom) * (height - 1) / 2 + down * height
        matrix = np.array([[zoom, 0, left], [0, zoom, top]])
        border = {"borderMode": cv2.BORDER_REPLICATE}
        return np.stack(
            [cv2.warpAffine(image, matrix, (width, height), **border) for image in frames]
        )

    return change


def in_time(speed, later):
    """A change of time: faster by a factor, and begun later by a share of the clip."""

    def change(frames):
        number = len(frames)
        places = (np.arange(number) - later * number - number / 2) * speed + number / 2
        return frames[np.clip(np.rint(places), 0, number - 1).astype(int)]

    return change


CHANGES = {
    "as it is": lambda frames: frames,
    "moved right by 10 %": in_space(1, 0, 0.1),
    "moved down by 8 %": in_space(1, 0.08, 0),
    "25 % larger": in_space(1.25, 0, 0),
    "20 % smaller": in_space(0.8, 0, 0),
    "begun earlier by 10 %": in_time(1, -0.1),
    "begun later by 10 %": in_time(1, 0.1),
    "30 % faster": in_time(1.3, 0),
    "30 % slower": in_time(0.7, 0),
}


def print_changes(recognizer, clips):
    labels = recognizer.run.labels
    print(f"{'clips':28}{'right':>10}")
    for name, change in CHANGES.items():
        right = 0
        for clip in clips:
            frames = change(frame.load_frames(clip.path))
            right += recognizer.predict(frames).ranking[0][0] == clip.label
        print(f"{name:28}{right:4} of {len(clips)}", flush=True)
    print(f"chance: {len(clips) / len(labels):.1f}")


def print_unknown(recognizer, clips):
    """The area below the ROC curve of telling known from unknown signs, a half of each."""
    run = recognizer.run
    distances = {}
    for stream in recognizer.streams:
        comparison = recognizer.networks[stream].comparison
        features = [comparison.describe(inputs_of(run, stream, clip)) for clip in clips]
        distances[stream] = np.stack([comparison.class_distances(each) for each in features])
    classes = np.array([run.labels.index(clip.label) for clip in clips])
    areas = []
    for seed in range(NUM_HALVES):
        known = np.random.default_rng(seed).permutation(len(run.signs))[: len(run.signs) // 2]
        scores = {}
        for stream, nearest in distances.items():
            comparison = recognizer.networks[stream].comparison
            scores[stream] = comparison.probabilities_at(nearest[..., known])
        unknown = 1 - recognizer.fuse(scores).sum(axis=1)
        is_known = np.isin(classes, known)
        pairs = unknown[is_known][:, None] - unknown[~is_known]
        areas.append(np.mean(pairs < 0) + 0.5 * np.mean(pairs == 0))
    print(f"half of the signs known: ROC area {np.median(areas):.3f} (wanted 0.85), {NUM_HALVES} x")


def print_own_signs():
    """What a few clips of one drawn signer are worth."""
    print(f"{'own signs':28}{'named rightly':>16}{'of another':>16}{'others refused':>16}")
    for number in NUM_TAUGHT:
        same, another, refused = [], [], []
        for signer in range(NUM_SIGNERS):
            recognizer = _taught(signer, number)
            after = range(max(NUM_TAUGHT), max(NUM_TAUGHT) + NUM_ASKED)
            same += [_is_named(recognizer, signer, sign, take) for sign in TAUGHT for take in after]
            for sign in TAUGHT:
                takes = range(NUM_BY_ANOTHER)
                another += [_is_named(recognizer, signer + 1, sign, take) for take in takes]
            for sign in OTHERS:
                answers = [recognizer.predict(_own(signer, sign, n)) for n in range(NUM_OTHERS)]
                refused += [answer.is_unknown for answer in answers]
        shares = [f"{sum(each)} of {len(each)}" for each in (same, another, refused)]
        name = f"{number} {'clip' if number == 1 else 'clips'} of each taught"
        print(f"{name:28}{shares[0]:>16}{shares[1]:>16}{shares[2]:>16}", flush=True)


def _taught(signer, number):
    dataset = data.Dataset("none", "laptop", presets=NEAREST_PRESETS)
    recognizer = train_nearest.without_clips(dataset)
    for take in range(number):
        for sign in TAUGHT:
            recognizer = train_nearest.with_clip(recognizer, sign, _own(signer, sign, take))
    return recognizer


def _is_named(recognizer, signer, sign, take):
    answer = recognizer.predict(_own(signer, sign, take))
    return not answer.is_unknown and answer.ranking[0][0] == sign


def _own(signer, sign, take):
    signer %= NUM_SIGNERS
    return film.render_clip(sign, f"signer {signer}", f"{signer} {sign} {take}")[0]


def print_times():
    """Of learning and answering; memory counts all that the process has used at most."""
    preset = NEAREST_PRESETS["laptop"]
    dataset = data.Dataset("none", "laptop", presets=NEAREST_PRESETS)
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (preset.num_frames, *preset.frame_size, 3), np.uint8)
    recognizer = train_nearest.without_clips(dataset)
    for number in range(NUM_CLIPS[0] - 1):
        moved = np.roll(frames, random.integers(1, 60, 2), (1, 2))
        recognizer = train_nearest.with_clip(recognizer, f"sign {number % 10}", moved)
    _print_time(recognizer, frames)
    _print_time(_repeated(recognizer, NUM_CLIPS[1] - 1), frames)
    if memory := peak_memory():
        megabytes = memory / 2**20
        print(f"memory of the process with {NUM_CLIPS[1]} clips: {megabytes:.0f} MiB (wanted 500)")


def _repeated(recognizer, number):
    """A recognizer with so many clips: the same ones again and again, with other noise."""
    random = np.random.default_rng(0)
    for network in recognizer.networks.values():
        for name, examples in network.comparison.examples.items():
            places = np.arange(number) % len(examples)
            rows = np.empty((number, *examples.rows.shape[1:]), np.float16)
            for row, place in zip(rows, places, strict=True):
                row[:] = examples.rows[place] * random.uniform(0.9, 1.1, row.shape)
            settings = examples.num_classes, examples.kinds, examples.is_alone
            network.comparison.examples[name] = Examples(rows, examples.classes[places], *settings)
    return recognizer


def _print_time(recognizer, frames):
    started = time.perf_counter()
    recognizer = train_nearest.with_clip(recognizer, "sign 0", frames)
    learned_seconds = time.perf_counter() - started
    number = len(next(iter(recognizer.networks.values())).comparison)
    answers = [answer_once(recognizer, frames) for _ in range(NUM_ANSWERS)]
    print(
        f"{number:5} clips: learning one {learned_seconds:.2f} s (wanted 1), last frame to answer "
        f"{1000 * np.median(answers):.0f} ms (wanted {WANTED_MS[number]})",
        flush=True,
    )


def print_invented(seed):
    """How many of invented signs, known from one clip each, are named when another one signs."""
    preset = NEAREST_PRESETS["laptop"]
    folder = drawn.folder_of(seed, preset)
    clips = drawn.clips_of("val", drawn.VALIDATION, seed)
    drawn.draw(folder, clips, preset)
    pairs = [[clip for clip in clips if clip.number == number] for number in (0, 1)]
    known, compared, asked = {}, {}, {}
    for stream in STREAMS:
        known[stream] = _rows(stream, folder, pairs[0], preset)
        nothing = fit(stream, dict.fromkeys(known[stream], ()), [], 0)
        compared[stream] = each = comparison_of(stream, nothing, preset.input_size)
        asked[stream] = [each.describe(_inputs(stream, folder, clip, preset)) for clip in pairs[1]]
    random = np.random.default_rng(seed)
    right = collections.defaultdict(list)
    for _ in range(TRIALS):
        some = random.choice(len(pairs[0]), WAYS, replace=False)
        distances, answers = {}, {}
        for stream, comparison in compared.items():
            rows = {name: each[some] for name, each in known[stream].items()}
            comparison.examples = fit(stream, rows, np.arange(WAYS), WAYS)
            found = [comparison.class_distances(asked[stream][clip]) for clip in some]
            distances[stream] = np.stack(found)
            answers[stream] = comparison.probabilities_at(distances[stream])
        answers["fused"] = predict.fuse(answers, train_nearest.fusion_weight(compared))
        for number, name in enumerate(rows):  # alone, by the sum of both streams' distances
            answers[f"{name} alone"] = -sum(each[:, number] for each in distances.values())
        for name, scores in answers.items():
            right[name].append(np.mean(scores.argmax(axis=1) == np.arange(WAYS)))
    told = ", ".join(f"{name} {np.mean(shares):.3f}" for name, shares in right.items())
    print(
        f"invented signs of seed {seed}, {WAYS} of {len(pairs[0])}, {TRIALS} x: {told}", flush=True
    )


def _rows(stream, folder, clips, preset):
    """{extractor: its features of all clips}, as `feature.py` would store them."""
    rows = {}
    for name in train_nearest.extractors(preset):
        network = extractor.maker(preset, stream, name)
        size = extractor.seen_size(preset, name)
        rows[name] = np.stack(
            [network.features(_inputs(stream, folder, clip, preset, size)) for clip in clips]
        )
    return rows


def _inputs(stream, folder, clip, preset, size=None):
    stored, _ = drawn.read_clip(folder / clip.place(), stream)
    return stream_input(stream, stored, *(size or preset.input_size))


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    command_line.add_flags(parser, {"dataset": data.OPTIONS["dataset"]}, dataset=None)
    parser.add_argument(
        "--invented", type=int, nargs="+", metavar="SEED", help="invented signs of these seeds"
    )
    args = parser.parse_args(argv)
    if args.invented:
        for seed in args.invented:
            print_invented(seed)
        return
    if args.dataset:
        recognizer = predict.Recognizer(f"{args.dataset}-laptop-nearest-seed0")
        dataset = recognizer.run.clips_of()
        clips = [clip for clip in dataset.stored_clips("rgb") if clip.split == "test"]
        clips = [clip for clip in clips if clip.label in recognizer.run.labels]
        print_changes(recognizer, clips)
        print_unknown(recognizer, clips)
    print_times()
    print_own_signs()


if __name__ == "__main__":
    command_line.run(main, goes_on="")
