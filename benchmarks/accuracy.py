"""How well the embedded data set is learned, over several seeds, and that it is about motion.

    python -m benchmarks.accuracy [--seeds 0 1 2]
    python -m benchmarks.accuracy --architecture mobile_lstm

Runs the architecture's pipeline for each seed (what is trained already is not trained again), then
plays the test clips of each model backwards and with their frames shuffled.
"""

import subprocess
import sys
import time

import numpy as np

import frame
from benchmarks import ROOT
from common import command_line
from common import dataset as data
from common.network_input import STREAMS
from evaluation import results
from inference import run_folder
from predict import Recognizer
from training.run import run_dir

REVERSED = {
    "swipe_left": "swipe_right",
    "swipe_right": "swipe_left",
    "swipe_up": "swipe_down",
    "swipe_down": "swipe_up",
}
WANTED = {  # top-1 of the worst seed
    "i3d": {"rgb": 0.90, "flow": 0.90, "fused": 0.98},
    "mobile_lstm": {"fused": 0.60},
}


def motion_tests(run, dataset):
    """Shares of test clips that are recognised: as they are, backwards, and shuffled."""
    recognizer = Recognizer(run)
    names = {sign.label: sign.name for sign in recognizer.run.signs}
    random = np.random.default_rng(0)
    hits = {"as it is": [], "shuffled": [], **{f"{name} backwards": [] for name in REVERSED}}
    for clip in dataset.stored_clips("rgb"):
        if clip.split != "test":
            continue
        frames, name = frame.load_frames(clip.path), names[clip.label]
        hits["as it is"].append(recognizer.predict(frames).ranking[0][1] == name)
        shuffled = frames[random.permutation(len(frames))]
        hits["shuffled"].append(recognizer.predict(shuffled).ranking[0][1] == name)
        if name in REVERSED:
            answer = recognizer.predict(frames[::-1]).ranking[0][1]
            hits[f"{name} backwards"].append(answer == REVERSED[name])
    return {what: float(np.mean(values)) for what, values in hits.items()}


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--architecture", choices=run_folder.ARCHITECTURES, default="i3d")
    args = parser.parse_args(argv)
    dataset = data.Dataset("toysigns")
    rows, motion = [], []
    for seed in args.seeds:
        started = time.monotonic()
        script = str(ROOT / f"pipeline_{args.architecture}.py")
        subprocess.run([sys.executable, script, "--seed", str(seed)], check=True)
        run = run_dir(dataset, args.architecture, seed=seed)
        result = results.read(run_folder.Run.read(run))["test"]
        top1 = {stream: values["top1"] for stream, values in result["streams"].items()}
        rows.append({**top1, "seconds": time.monotonic() - started})
        motion.append(motion_tests(run, dataset))
    print(f"\n{'top-1 on unseen signers':28}" + "".join(f"seed {seed:<6}" for seed in args.seeds))
    for stream in (*STREAMS, "fused"):
        values = "".join(f"{row[stream]:<11.3f}" for row in rows)
        wanted = WANTED[args.architecture].get(stream)
        print(f"{stream:28}{values}" + (f" wanted {wanted}" if wanted else ""))
    for what in motion[0]:
        print(f"{what:28}" + "".join(f"{values[what]:<11.3f}" for values in motion))
    seconds = "".join(f"{row['seconds']:<11.0f}" for row in rows)
    print(f"{'seconds, what was new':28}{seconds}")


if __name__ == "__main__":
    command_line.run(main)
