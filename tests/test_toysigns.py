import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import toysigns
from common import dataset, disk
from toy import drawing, gesture, scene, signer

TINY = (1, 1, 1)
SCRIPT = Path(toysigns.__file__).resolve()


def packed(folder):
    """Name and content of everything that toysigns.py delivers."""
    names = [f"{split}.{suffix}" for split in dataset.SPLITS for suffix in ("zip", "txt")]
    return {name: (folder / name).read_bytes() for name in [*names, "class.csv"]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One clip of each sign in each split, rendered in this process."""
    data = dataset.Dataset("toysigns", root=tmp_path_factory.mktemp("tiny"))
    report = toysigns.make_dataset(data, seed=5, clips_per_sign=TINY, workers=1)
    assert (report.done, report.failed) == (24, [])
    return data


@pytest.fixture
def two_signs(monkeypatch, tmp_path):
    """A smaller set still, for what is rendered several times."""
    monkeypatch.setattr(gesture, "SIGNS", ("no_gesture", "clap"))
    return dataset.Dataset("toysigns", root=tmp_path)


def performances(sign, count=40):
    """Yields (motion, joints, person) of different signers."""
    for number in range(count):
        person = signer.invent_signer(random.Random(f"person {number}"))
        motion = gesture.perform(sign, person, random.Random(f"{sign} {number}"))
        yield motion, signer.arm_joints(person, motion.wrists), person


def busy_hand(motion, joints):
    """The (x, y) path of the hand that moves most while it is raised, `(num_raised, 2)`."""
    paths = joints[motion.raised][:, :, 2, :2]
    travelled = np.abs(np.diff(paths, axis=0)).sum(axis=(0, 2))
    return paths[:, np.argmax(travelled)]


def count_swings(positions, threshold_px=35):
    """How often a position goes up or down by more than the threshold, in turns."""
    swings, turning_point, direction = 0, positions[0], 0
    for position in positions:
        moved = position - turning_point
        if abs(moved) > threshold_px and np.sign(moved) != direction:
            swings, direction = swings + 1, np.sign(moved)
        if moved * direction > 0:
            turning_point = position
    return swings


@pytest.mark.parametrize(
    "sign, axis, direction",
    [("swipe_left", 0, -1), ("swipe_right", 0, 1), ("swipe_up", 1, -1), ("swipe_down", 1, 1)],
)
def test_a_swipe_goes_one_way_as_its_name_says(sign, axis, direction):
    for motion, joints, _ in performances(sign):
        path = busy_hand(motion, joints)
        along, across = direction * path[:, axis], path[:, 1 - axis]
        assert along[-1] - along[0] > 65
        assert (np.maximum.accumulate(along) - along).max() < 10
        assert np.ptp(across) < 0.5 * np.ptp(along)


def test_wave_goes_from_side_to_side_three_or_four_times():
    for motion, joints, _ in performances("wave"):
        path = busy_hand(motion, joints)
        assert count_swings(path[:, 0]) in (3, 4)
        assert np.ptp(path[:, 1]) < 0.5 * np.ptp(path[:, 0])


def test_waving_is_slow_enough_for_twenty_frames_per_clip():
    for motion, joints, _ in performances("wave"):
        x = busy_hand(motion, joints)[:, 0]
        spectrum = np.abs(np.fft.rfft(x - x.mean(), 256))
        frequency_hz = np.fft.rfftfreq(256, 1 / scene.FRAMES_PER_SECOND)[spectrum.argmax()]
        assert 0.5 < frequency_hz < 1.2


def test_circle_closes_and_goes_both_ways_round():
    turns = []
    for motion, joints, _ in performances("circle"):
        path = busy_hand(motion, joints)
        x, y = (path - (path.max(0) + path.min(0)) / 2).T
        radius = np.hypot(x, y)
        assert radius.min() > 0.55 * radius.max()
        turns.append(np.ptp(np.unwrap(np.arctan2(y, x))) / (2 * np.pi))
        assert 0.98 < turns[-1] < 1.7
        turns[-1] *= np.sign(np.unwrap(np.arctan2(y, x))[-1] - np.arctan2(y, x)[0])
    assert min(turns) < 0 < max(turns)


def test_hands_meet_in_clap_and_part_again():
    for motion, joints, person in performances("clap"):
        left, right = joints[motion.raised][:, 0, 2], joints[motion.raised][:, 1, 2]
        apart = np.linalg.norm(right - left, axis=1)
        assert apart.min() < 2.6 * person.hand_px
        assert count_swings(apart, 40) in (3, 4)
        assert np.abs(left[:, 1] - right[:, 1]).max() < 12


def test_hands_of_no_gesture_go_nowhere():
    for motion, joints, _ in performances("no_gesture"):
        assert np.ptp(joints[motion.raised][:, :, 2, :2], axis=0).max() < 25


def test_raised_hands_are_no_sign_of_a_sign():
    """The second hand and no_gesture's hands are up often enough, and for as long."""
    raised = {
        sign: [
            (motion.wrists[motion.raised][:, :, 1].mean(0) < 80).sum()
            for motion, _, _ in performances(sign, 80)
        ]
        for sign in ("no_gesture", "wave")
    }
    assert 0.4 < np.mean(np.array(raised["no_gesture"]) > 0) < 0.9
    assert 0.15 < np.mean(np.array(raised["wave"]) == 2) < 0.5


@pytest.mark.parametrize(
    "sign, opposite", [("swipe_left", "swipe_right"), ("swipe_up", "swipe_down")]
)
def test_a_reversed_swipe_is_the_opposite_swipe(sign, opposite):
    def statistics(name, reverse):
        rows = []
        for motion, joints, _ in performances(name, 300):
            step = -1 if reverse else 1
            raised, joints = motion.raised[::step], joints[::step]
            motion = gesture.Motion(motion.wrists[::step], raised, motion.sway, motion.head_tilt)
            path = busy_hand(motion, joints)
            speed = np.linalg.norm(np.diff(path, axis=0), axis=1)
            before = np.argmax(raised)
            after = np.argmax(raised[::-1])
            fastest = speed.argmax() / len(speed)
            rows.append([*path[0], *path[-1], before, after, fastest, speed.max(), len(raised)])
        return np.array(rows)

    backwards, forwards = statistics(sign, True), statistics(opposite, False)
    error = np.sqrt((backwards.var(0) + forwards.var(0)) / len(forwards))
    assert (np.abs(backwards.mean(0) - forwards.mean(0)) < 4 * error).all()
    assert backwards.std(0) == pytest.approx(forwards.std(0), rel=0.2)


@pytest.mark.parametrize("sign", gesture.SIGNS)
def test_raised_hands_stay_in_the_central_square(sign):
    for number, (motion, joints, person) in enumerate(performances(sign)):
        camera = scene.place_camera(len(joints), random.Random(number))
        wrists = joints[:, :, 2, :2] + motion.sway[:, None]
        reach = 1.9 * person.hand_px * np.array([0.6, 1])  # fingers point upwards
        for point in (wrists - reach, wrists + reach * (1, 0)):
            pixel = camera.origin + camera.scale * point[motion.raised]
            hanging = joints[motion.raised][:, :, 2, 1] > 85
            inside = ((pixel >= (60, 20)) & (pixel < (260, 220))).all(-1)
            assert (inside | hanging).all()


def test_hands_are_drawn_where_the_joints_are():
    for _, joints, person in performances("clap", 5):
        person = vars(person) | {"skin": (0, 0, 255), "shirt": (255, 0, 0), "long_sleeves": True}
        person = signer.Signer(**person)
        image = np.zeros((480, 640, 3), np.uint8)
        arms = joints[len(joints) // 2]
        drawing.draw_signer(scene.Canvas(image, (320, 200), 2.0), person, arms, 0.0)
        reddish = (image[:, :, 2] > 150) & (image[:, :, 0] < 60)
        for wrist in arms[:, 2, :2]:
            x, y = np.rint(np.array([320, 200]) + 2 * wrist).astype(int)
            size = round(4 * person.hand_px)
            assert reddish[y - size : y + size, x - size : x + size].sum() > 2 * size**2 / 3


def test_depth_shows_raised_hands_before_the_body():
    for _, joints, person in performances("clap", 5):
        image = np.zeros((240, 320), np.uint8)
        arms = joints[len(joints) // 2]
        drawing.draw_depth(scene.Canvas(image, (160, 100), 1.0), person, arms, 0.0)
        body = image[190, 160]
        for wrist in arms[:, 2, :2]:
            x, y = np.rint(np.array([160, 100]) + wrist).astype(int)
            assert image[y, x] > body + 8 > 0


def test_a_clip_is_four_to_five_seconds_of_small_colour_and_depth_pictures():
    colour, depth = toysigns.render_clip("clap", 1, 1)
    assert 40 <= len(colour) <= 50
    assert colour.dtype == depth.dtype == np.uint8
    assert colour.shape == (len(depth), 240, 320, 3) and depth.shape[1:] == (240, 320)


def test_clips_depend_on_every_seed_and_nothing_else():
    first, again = (toysigns.render_clip("wave", 1, 1)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for other in (("wave", 2, 1), ("wave", 1, 2), ("circle", 1, 1)):
        clip, _ = toysigns.render_clip(*other)
        assert clip.shape != first.shape or np.abs(clip.astype(int) - first).mean() > 1


def test_plans_of_other_seeds_differ():
    assert toysigns.plan_split("train", 0, 3) != toysigns.plan_split("train", 1, 3)


def test_signers_of_the_splits_are_different_people():
    people = {}
    for split, clips in zip(dataset.SPLITS, toysigns.CLIPS_PER_SIGN, strict=True):
        seeds = {plan.signer_seed for plan in toysigns.plan_split(split, 0, clips)}
        people[split] = {signer.invent_signer(random.Random(seed)) for seed in seeds}
        assert len(people[split]) == len(seeds)
    assert len(people["test"]) >= 10
    assert len(set.union(*people.values())) == sum(map(len, people.values()))


def test_plans_are_numbered_as_chalearn_numbers_them():
    plans = toysigns.plan_split("val", 0, 30)
    members = [plan.member("K") for plan in plans]
    assert members[0] == "valid/001/K_00001.avi"
    assert members[199:201] == ["valid/001/K_00200.avi", "valid/002/K_00201.avi"]
    labels = [plan.label for plan in plans]
    assert sorted(labels) == sorted(30 * list(range(1, 9)))
    assert len(set(labels[:30])) > 4


def test_zips_hold_what_the_lists_say(tiny, tmp_path):
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        rows = [row.split() for row in (tiny.video_dir / f"{split}.txt").read_text().splitlines()]
        assert sorted(int(label) for _, _, label in rows) == list(range(1, 9))
        with zipfile.ZipFile(tiny.video_dir / f"{split}.zip") as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [name for row in rows for name in row[:2]]
            assert all(name.startswith(f"{folder}/001/") for name in archive.namelist())
            path = Path(archive.extract(rows[0][0], tmp_path))
            depth_path = Path(archive.extract(rows[0][1], tmp_path))
    plan = toysigns.plan_split("test", 5, 1)[0]
    colour, depth = toysigns.render_clip(
        gesture.SIGNS[plan.label - 1], plan.signer_seed, plan.clip_seed
    )
    for video, wanted in ((path, colour), (depth_path, depth)):
        frames = read_video(video)
        assert len(frames) == len(wanted)
        wanted = wanted if wanted.ndim == 4 else wanted[..., None]
        assert np.abs(frames.astype(int) - wanted).mean() < 6


def read_video(path):
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == scene.FRAMES_PER_SECOND
    frames = []
    while (got := capture.read())[0]:
        frames.append(got[1])
    return np.stack(frames)


def test_class_file_names_the_signs_by_label(tiny):
    signs = dataset.read_class_file(tiny.class_file)
    assert [(sign.label, sign.name, sign.category) for sign in signs][:2] == [
        ("c001", "no_gesture", "toy"),
        ("c002", "wave", "toy"),
    ]
    assert [sign.name for sign in signs] == list(gesture.SIGNS)


def test_two_workers_make_the_same_bytes(tiny, tmp_path):
    data = dataset.Dataset("toysigns", root=tmp_path)
    toysigns.make_dataset(data, seed=5, clips_per_sign=TINY, workers=2)
    assert packed(data.video_dir) == packed(tiny.video_dir)


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_killed_half_way_and_started_again_makes_the_same_bytes(tiny, tmp_path):
    command = [sys.executable, SCRIPT, "--seed", "5", "--clips-per-sign", "1", "1", "1"]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    data = dataset.Dataset("toysigns", root=tmp_path)
    rendered = data.video_dir / toysigns.WORK_DIR
    deadline = time.monotonic() + 60
    while len(list(rendered.glob("*/*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(data.video_dir.glob("*.zip"))
    report = toysigns.make_dataset(data, seed=5, clips_per_sign=TINY, workers=1)
    assert report.skipped >= 3 and report.done == 24 - report.skipped
    assert packed(data.video_dir) == packed(tiny.video_dir)


def test_second_run_changes_nothing_and_scratch_is_gone(tiny, capsys, monkeypatch):
    def state():
        return {path: path.stat().st_mtime_ns for path in tiny.video_dir.rglob("*.*")}

    before, started = state(), time.monotonic()
    monkeypatch.chdir(tiny.root)
    assert toysigns.main(["--seed", "5", "--clips-per-sign", "1", "1", "1"]) == 0
    assert time.monotonic() - started < 1
    lock = tiny.video_dir / toysigns.LOCK_FILE
    assert {**state(), lock: 0} == {**before, lock: 0}
    assert not list(tiny.video_dir.rglob("*.avi"))
    printed = capsys.readouterr().out
    assert "0 done, 24 skipped" in printed
    assert "python prepare_chalearn.py --dataset toysigns" in printed


def test_other_parameters_are_refused_until_rebuilt(two_signs):
    toysigns.make_dataset(two_signs, 1, TINY, workers=1)
    before = packed(two_signs.video_dir)
    with pytest.raises(ValueError, match="seed is 1, wanted 2.*--rebuild"):
        toysigns.make_dataset(two_signs, 2, TINY, workers=1)
    with pytest.raises(ValueError, match="clips_per_sign.*--rebuild"):
        toysigns.make_dataset(two_signs, 1, (2, 1, 1), workers=1)
    assert packed(two_signs.video_dir) == before
    report = toysigns.make_dataset(two_signs, 2, TINY, workers=1, rebuild=True)
    after = packed(two_signs.video_dir)
    assert report.done == 6
    assert all(after[f"{split}.zip"] != before[f"{split}.zip"] for split in dataset.SPLITS)


def test_what_is_there_tells_how_much_was_asked_for(two_signs):
    """So the pipeline goes on with a small one as it is."""
    assert toysigns.num_training_clips(two_signs) == 2 * 60
    toysigns.make_dataset(two_signs, 1, TINY, workers=1)
    assert toysigns.made_with(two_signs) == {"seed": 1, "clips_per_sign": list(TINY)}
    assert toysigns.num_training_clips(two_signs) == 2 * TINY[0]
    again = toysigns.make_dataset(two_signs, workers=1, **toysigns.made_with(two_signs))
    assert again.done == 0


def test_a_zip_that_is_lost_is_made_again(two_signs):
    toysigns.make_dataset(two_signs, 1, TINY, workers=1)
    before = packed(two_signs.video_dir)
    (two_signs.video_dir / "val.zip").unlink()
    report = toysigns.make_dataset(two_signs, 1, TINY, workers=1)
    assert (report.done, report.skipped) == (2, 4)
    assert packed(two_signs.video_dir) == before


@pytest.mark.parametrize("rebuild", [False, True])
def test_other_peoples_data_is_left_alone(tmp_path, rebuild):
    data = dataset.Dataset("chalearn", root=tmp_path)
    data.video_dir.mkdir(parents=True)
    (data.video_dir / "train.zip").write_bytes(b"12 GB, registered for")
    with pytest.raises(ValueError, match="did not make.*train.zip"):
        toysigns.make_dataset(data, clips_per_sign=TINY, rebuild=rebuild)
    assert [path.name for path in data.video_dir.iterdir()] == ["train.zip"]


def test_two_runs_at_once_do_not_mix(two_signs):
    with disk.lock(two_signs.video_dir / toysigns.LOCK_FILE, "busy"):
        with pytest.raises(ValueError, match="Another process"):
            toysigns.make_dataset(two_signs, clips_per_sign=TINY)
    assert not list(two_signs.video_dir.glob("*.zip"))


def test_docstring_tells_the_ranges_in_use():
    row = re.compile(r"^    (\w+) +(-?[\d.]+) \.\. (-?[\d.]+) ", re.MULTILINE)
    told = {name: (float(low), float(high)) for name, low, high in row.findall(toysigns.__doc__)}
    assert len(told) > 40
    for name, low_high in told.items():
        used = signer.RANGES.get(name)
        for module in (gesture, scene):
            used = used or getattr(module, name.upper(), None)
        assert low_high == used, name
    assert set(signer.RANGES) < set(told)
