"""What the TV-L1 solver costs and how exact it is, beside OpenCV's and two quicker methods.

    python -m benchmarks.flow

reads   ../shared/data/ksl (real signing) and ../shared/reference/middlebury (true flow), where they
        are; else drawn images stand in for the first, and rows that need the second are left out
writes  nothing; prints Markdown tables, in about five minutes

Accuracy is measured before anything is timed. Methods take turns, and a figure is the median over
the rounds. Methods on one thread are compared by that thread's processor time, which other programs
disturb less; the rows about threads, processes and the stage are by the clock and need idle cores.

What each step of the solver brought, milliseconds per 240x320 pair, preset `fast`, on two shared
cores with AVX-512, other pairs than below (OpenCV: 395 on its own, so read the steps as ratios):

    plain Numba, whole arrays                                              93
    rows interleaved in memory, one fused sweep per iteration, own median
        filter and own cubic warp, none of it vectorised by LLVM           56
    no index that may wrap around, arguments declared disjoint,
        row functions inlined into the sweep: all of it vectorised         9.4
    pointers in place of slices, four pixels of the warp in one vector,
        plain copies before the median filter                              8.8
    work arrays that begin at a cache line                                 8.1

Tried and left out: dual variables carried from scale to scale (as many iterations, 0.06 px away
from OpenCV's flow); a 32-bit column counter for the padding's mask (no gain).
"""

import concurrent.futures
import functools
import multiprocessing
import platform
import re
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import tvl1
from benchmarks import SHARED, real_clips
from benchmarks.rounds import in_turns, medians, seconds_of
from common import command_line
from common.video import read_clip, write_image

HEIGHT, WIDTH, NUM_FRAMES = 240, 320, 40
COUNT = 3_000_000  # additions, a fraction of a second
SOLVED_TIMES = 10  # all pairs, in each process
CHALEARN_PAIRS = 47_933 * (NUM_FRAMES - 1)
UNKNOWN_FLOW = 1e9
OPENCV_FAST = {"scaleStep": 0.5, "warps": 3, "epsilon": 0.02}
SIZES = [(120, 160), (240, 320), (480, 640)]
# Packed multiplication and square root: x86 with its three widths, ARM.
PACKED = {"multiply": r"vmulps\s.*[xyz]mm|fmul\s+v\d+\.4s", "root": r"v?r?sqrt(14)?ps|fsqrt\s+v"}


def textured_frames(num_frames, height, width):
    """Drawn stand-in for a clip: a pattern that turns and slides, uint8 gray frames."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(2 * height, 2 * width))
    pattern = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * 12 * sigma for sigma in (2, 4, 8))
    frames = []
    for number in range(num_frames):
        matrix = cv2.getRotationMatrix2D((width, height), number, 1.0)
        matrix[:, 2] += (-width / 2 + 1.5 * number, -height / 2)
        frames.append(cv2.warpAffine(pattern + 128, matrix, (width, height)))
    return [np.clip(frame, 0, 255).astype(np.uint8) for frame in frames]


def clip_paths(num_clips):
    paths = real_clips()
    return paths[:: max(1, len(paths) // num_clips)][:num_clips]


def gray_clip(path, height=HEIGHT, width=WIDTH):
    """A clip as the stages store it, in gray; a drawn one if `path` is None."""
    if path is None:
        return textured_frames(NUM_FRAMES, height, width)

    frames = read_clip(path, NUM_FRAMES, height, width)
    return [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in frames]


def signing_pairs(num_clips, pairs_per_clip):
    """Consecutive stored frames from the middle of several clips: list of (gray, gray)."""
    pairs = []
    for path in clip_paths(num_clips) or [None]:
        frames = gray_clip(path)
        starts = np.linspace(8, NUM_FRAMES - 10, pairs_per_clip).astype(int)
        pairs += [(frames[start], frames[start + 1]) for start in starts]
    return pairs


def middlebury_scenes():
    """List of (name, gray, gray, true flow in pixels)."""
    scenes = []
    for folder in sorted((SHARED / "reference" / "middlebury").glob("*/")):
        names = [str(folder / name) for name in ("frame10.png", "frame11.png")]
        images = [cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in names]
        scenes.append((folder.name, *images, cv2.readOpticalFlow(str(folder / "flow10.flo"))))
    return scenes


def end_point_error(flow, truth):
    """Mean distance in pixels where the truth is known."""
    known = (np.abs(truth) < UNKNOWN_FLOW).all(axis=-1)
    return float(np.linalg.norm(flow - truth, axis=-1)[known].mean())


def methods():
    """All that is compared: name to a function of two gray images that returns their flow."""
    presets = {"ultrafast": 0, "fast": 1, "medium": 2}
    opencv = {
        "OpenCV TV-L1 fast": cv2.optflow.DualTVL1OpticalFlow_create(**OPENCV_FAST),
        "OpenCV TV-L1 quality": cv2.optflow.DualTVL1OpticalFlow_create(),
        **{f"DIS {name}": cv2.DISOpticalFlow_create(code) for name, code in presets.items()},
    }
    calls = {"TV-L1 fast": tvl1.TVL1("fast").calc, "TV-L1 quality": tvl1.TVL1("quality").calc}
    for name, method in opencv.items():
        calls[name] = lambda first, second, method=method: method.calc(first, second, None)
    calls["Farneback"] = lambda first, second: cv2.calcOpticalFlowFarneback(
        first, second, None, 0.5, 4, 15, 3, 5, 1.1, 0
    )
    return calls


def accuracy(calls, pairs, scenes):
    """Name to (errors on `scenes`, mean distance to OpenCV's flow on `pairs`), in pixels."""
    reference = {
        "fast": [calls["OpenCV TV-L1 fast"](*pair) for pair in pairs],
        "quality": [calls["OpenCV TV-L1 quality"](*pair) for pair in pairs],
    }
    figures = {}
    for name, calc in calls.items():
        flows = reference["quality" if name.endswith("quality") else "fast"]
        distances = [
            np.linalg.norm(calc(*pair) - flow, axis=-1).mean()
            for pair, flow in zip(pairs, flows, strict=True)
        ]
        errors = [end_point_error(calc(first, second), truth) for _, first, second, truth in scenes]
        figures[name] = errors, float(np.mean(distances))
    return figures


def solve_pairs(calc, pairs):
    for pair in pairs:
        calc(*pair)


def seconds_per_pair(calc, pairs, clock=time.thread_time):
    return seconds_of(solve_pairs, calc, pairs, clock=clock) / len(pairs)


def seconds_of_rounds(calls, pairs, num_rounds, clock=time.thread_time):
    """Name to list of seconds per pair, one for each round; the methods take turns."""
    measures = {
        name: functools.partial(seconds_per_pair, calc, pairs, clock)
        for name, calc in calls.items()
    }
    return in_turns(measures, num_rounds)


def median_ratio(slow, quick):
    return statistics.median(a / b for a, b in zip(slow, quick, strict=True))


def thread_gain(pairs, num_rounds):
    """How much sooner two threads finish a pair than one."""
    calls = {count: tvl1.TVL1(num_threads=count).calc for count in (1, 2)}
    for pair in pairs:
        np.testing.assert_array_equal(calls[1](*pair), calls[2](*pair))
    seconds = seconds_of_rounds(calls, pairs, num_rounds, time.perf_counter)
    return median_ratio(seconds[1], seconds[2])


def solve_all(pairs, num_repeats):
    """Seconds that a process needs for the pairs, `num_repeats` times."""
    cv2.setNumThreads(1)
    return seconds_of(solve_pairs, tvl1.TVL1().calc, pairs * num_repeats)


def gain_of_two(num_rounds, work, *arguments):
    """How many times the work of one process two of them do in the same time.

    Args:
        num_rounds: of one process, then two.
        work: function of `arguments` that returns the seconds it took.
    """
    gains = []
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:

        def work_in(num_processes):
            futures = [pool.submit(work, *arguments) for _ in range(num_processes)]
            return max(future.result() for future in futures)

        work_in(2)  # starts them
        for _ in range(num_rounds):
            gains.append(2 * work_in(1) / work_in(2))
    return statistics.median(gains)


def count(number):
    """Seconds of arithmetic that shares nothing with anybody."""
    return seconds_of(sum, (value * value for value in range(number)))


def machine_gain(num_rounds):
    """`gain_of_two` that only count: 2 on two idle cores, and no program gains more."""
    return gain_of_two(num_rounds, count, COUNT)


def stage_share(num_rounds):
    """Share of the stage's time (read JPEGs, solve, write JPEGs) that the solver takes."""
    import opticalflow

    spent = []
    solve = tvl1.TVL1.next

    def timed_next(solver, gray):
        started = time.perf_counter()
        flow = solve(solver, gray)
        spent.append(time.perf_counter() - started)
        return flow

    shares = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "frames"
        path = next(iter(clip_paths(1)), None)
        if path is None:
            gray = textured_frames(NUM_FRAMES, HEIGHT, WIDTH)
            frames = [cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) for image in gray]
        else:
            frames = read_clip(path, NUM_FRAMES, HEIGHT, WIDTH)
        source.mkdir()
        for number, image in enumerate(frames):
            write_image(source / f"frame{number:04d}.jpg", image)
        tvl1.TVL1.next = timed_next
        for number in range(num_rounds):
            spent.clear()
            started = time.perf_counter()
            opticalflow.clip_to_flow(source, Path(folder) / str(number), "tvl1", NUM_FRAMES)
            shares.append(sum(spent) / (time.perf_counter() - started))
        tvl1.TVL1.next = solve
    return statistics.median(shares)


def growth_with_size(num_rounds):
    """Nanoseconds per pixel at each of `SIZES`."""
    path = next(iter(clip_paths(1)), None)
    measures = {}
    for size in SIZES:
        frames = gray_clip(path, *size)
        pairs = [(frames[start], frames[start + 1]) for start in (10, 18, 26)]
        measures[size] = functools.partial(seconds_per_pair, tvl1.TVL1().calc, pairs)
        measures[size]()  # the first one allocates
    seconds = medians(in_turns(measures, num_rounds))
    return {size: seconds[size] * 1e9 / np.prod(size) for size in SIZES}


def iteration_cost(pair, num_rounds):
    """Nanoseconds per pixel and iteration: what 100 iterations more cost on one scale."""
    common = {"num_scales": 1, "num_warps": 1, "median_filter": 1, "epsilon": 0.0}
    calls = {
        count: tvl1.TVL1(inner_iterations=count, outer_iterations=1, **common).calc
        for count in (20, 120)
    }
    seconds = seconds_of_rounds(calls, [pair], num_rounds)
    pixels = pair[0].size
    return statistics.median(
        (long - short) * 1e9 / 100 / pixels
        for short, long in zip(seconds[20], seconds[120], strict=True)
    )


def packed_instructions():
    """How many packed multiplications and square roots the compiled solver has."""
    import numba

    from tvl1 import band, compiler, llvm

    solve = numba.njit(**llvm.COMPILE_OPTIONS)(band.solve_band)
    solve.compile(compiler.compiled_solver().signatures[0])  # code from disk has no text
    text = "\n".join(solve.inspect_asm().values())
    return {name: len(re.findall(pattern, text)) for name, pattern in PACKED.items()}


def print_table(header, rows):
    print()
    for row in [header, ["---"] * len(header), *rows]:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def print_targets(figures, seconds, pairs, num_rounds):
    fast = median_ratio(seconds["OpenCV TV-L1 fast"], seconds["TV-L1 fast"])
    quality = median_ratio(seconds["OpenCV TV-L1 quality"], seconds["TV-L1 quality"])
    rows = [
        ["time per pair, `fast`, against OpenCV", "1/10", f"1/{fast:.1f}"],
        ["time per pair, `quality`, against OpenCV", "1/10", f"1/{quality:.1f}"],
    ]
    for preset in ("fast", "quality"):
        ours, theirs = figures[f"TV-L1 {preset}"][0], figures[f"OpenCV TV-L1 {preset}"][0]
        if ours:
            worst = max(a - b for a, b in zip(ours, theirs, strict=True))
            rows.append(
                [f"error above OpenCV's, worst scene, `{preset}`", "0.005 px", f"{worst:+.4f}"]
            )
        distance = figures[f"TV-L1 {preset}"][1]
        rows.append([f"mean distance to OpenCV's flow, `{preset}`", "0.05 px", f"{distance:.4f}"])
    sizes = growth_with_size(num_rounds)
    growth = sizes[SIZES[-1]] / sizes[SIZES[0]]
    packed = packed_instructions()
    processes = gain_of_two(num_rounds, solve_all, pairs, SOLVED_TIMES)
    rows += [
        ["one pair, two threads against one", "1.7x", f"{thread_gain(pairs, num_rounds):.2f}x"],
        ["two processes against one", "1.9x", f"{processes:.2f}x"],
        ["two processes that only count, against one", "", f"{machine_gain(num_rounds):.2f}x"],
        ["share of the solver in the stage", "85 %", f"{stage_share(num_rounds):.0%}"],
        ["cost per pixel, 480x640 against 120x160", "0.8 to 1.2", f"{growth:.2f}"],
        ["one pixel, one iteration", "3 ns", f"{iteration_cost(pairs[0], num_rounds):.2f} ns"],
        ["packed multiplications, square roots", "> 0", f"{packed['multiply']}, {packed['root']}"],
    ]
    print_table(["figure", "target", "measured"], rows)


def main(argv=None):
    parser = command_line.make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of each timing (default: 7)")
    num_rounds = parser.parse_args(argv).rounds
    cv2.setNumThreads(1)
    pairs, scenes = signing_pairs(num_clips=5, pairs_per_clip=2), middlebury_scenes()
    if not clip_paths(1):
        print("No ../shared/data/ksl: drawn frames stand in for real signing.")
    if not scenes:
        print("No ../shared/reference/middlebury: errors against the true flow are left out.")
    calls = methods()
    figures = accuracy(calls, pairs, scenes)
    slow = {name: call for name, call in calls.items() if name.endswith("quality")}
    quick = {name: call for name, call in calls.items() if name not in slow}
    seconds = seconds_of_rounds(quick, pairs, num_rounds)
    seconds |= seconds_of_rounds(slow, pairs[::4], max(1, num_rounds // 2))
    rows = []
    for name, (errors, distance) in figures.items():
        milliseconds = statistics.median(seconds[name]) * 1e3
        rows.append([name, f"{milliseconds:.1f}", *(f"{e:.3f}" for e in errors), f"{distance:.3f}"])
    names = [f"error {scene[0]}, px" for scene in scenes]
    print(f"\n{platform.machine()}, {len(pairs)} pairs of {HEIGHT}x{WIDTH}, {num_rounds} rounds")
    print_table(["method", "ms per pair", *names, "distance to OpenCV's TV-L1, px"], rows)
    print_targets(figures, seconds, pairs, num_rounds)
    hours = [
        CHALEARN_PAIRS * statistics.median(seconds[name]) / 3600
        for name in ("OpenCV TV-L1 fast", "TV-L1 fast")
    ]
    print(f"\nChaLearn, {CHALEARN_PAIRS:,} pairs: OpenCV {hours[0]:.0f} core-hours, ", end="")
    print(f"ours {hours[1]:.1f}.")


if __name__ == "__main__":
    command_line.run(main)
