"""Clips are compared by what they show, whatever their speed; what is unlike all is unknown."""

import numpy as np
import pytest

from nearest import descriptor, files
from nearest.comparison import HOG_HOF, ONE_SIGN, SIGNS, Comparison, fit
from nearest.examples import LIMIT, OF_FRAMES, TEMPERATURE, Examples
from nearest.kinds import Whole, unit
from nearest.warping import warped_distances

HEIGHT, WIDTH = 48, 64
random = np.random.default_rng


def blob(left, top, size=8):
    """A frame with a bright square on grey, float32 RGB in [-1, 1]."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    frame[top : top + size, left : left + size] = 1
    return frame


def path(sign, num_frames=16, moved=(0, 0)):
    """A clip in which a square goes from left to right, or down, or stays in a corner."""
    steps = np.linspace(0, 1, num_frames)
    places = {
        "across": [(10 + 36 * step, 20) for step in steps],
        "down": [(28, 6 + 30 * step) for step in steps],
        "circle": [
            (28 + 14 * np.cos(6.28 * step), 20 + 14 * np.sin(6.28 * step)) for step in steps
        ],
    }
    return np.stack(
        [blob(round(left) + moved[0], round(top) + moved[1]) for left, top in places[sign]]
    )


def rows_of(clip):
    return descriptor.describe("rgb", clip)[:, 0]


def comparison(signs=("across", "down", "circle")):
    rows = np.stack([rows_of(path(sign)) for sign in signs])
    return compared_with(Examples(rows, np.arange(len(signs)), len(signs)))


def compared_with(examples):
    return Comparison("rgb", {HOG_HOF: examples}, HEIGHT, WIDTH)


def distances_of(examples, views):
    return examples.class_distances(examples.distances(views))


def answer(comparer, clip):
    return comparer.answer(comparer.describe(clip)[None])[0]


def test_warping_pairs_frames_of_other_speeds():
    clip = random(0).normal(size=(8, 5)).astype(np.float32)
    slow = np.repeat(clip, 2, axis=0)
    other = random(1).normal(size=(16, 5)).astype(np.float32)
    same, unlike = warped_distances(clip, np.stack([slow, other], axis=1))
    assert same == pytest.approx(0, abs=1e-3)
    assert unlike > 1


def test_warping_never_runs_backwards():
    clip = np.arange(12, dtype=np.float32)[:, None]
    forwards, backwards = warped_distances(clip, np.stack([clip, clip[::-1]], axis=1))
    assert forwards < 0.01 < 1 < backwards


def test_warping_equals_the_textbook():
    first, second = (random(seed).normal(size=(6, 3)).astype(np.float32) for seed in (2, 3))
    costs = np.linalg.norm(first[:, None] - second[None], axis=-1)
    best = np.full((7, 7), np.inf)
    best[0, 0] = 0
    for i in range(6):
        for j in range(6):
            if abs(i - j) * 6 > 0.32 * 36:
                continue
            steps = best[i, j] + 2 * costs[i, j], best[i, j + 1] + costs[i, j]
            best[i + 1, j + 1] = min(*steps, best[i + 1, j] + costs[i, j])
    found = warped_distances(first, second[:, None])[0]
    assert found == pytest.approx(best[6, 6] / 12, rel=1e-4)


def test_gradients_of_a_vertical_edge_point_across():
    frame = np.zeros((1, HEIGHT, WIDTH, 3), np.float32)
    frame[:, :, WIDTH // 2 :] = 1
    planes = descriptor.describe("rgb", frame).reshape(descriptor.BINS["rgb"], -1)
    strengths = planes.sum(axis=1)
    assert strengths.argmax() == 0
    assert strengths[0] > 0.99 * strengths.sum()


def test_slow_flow_counts_for_nothing_and_direction_is_told():
    flow = np.zeros((2, HEIGHT, WIDTH, 2), np.float32)
    flow[0, ..., 1] = 0.9 * descriptor.STILL * HEIGHT / 20
    flow[1, ..., 1] = 0.2  # down
    rows = descriptor.describe("flow", flow)[:, 0]
    assert not rows[0].any()
    bins = rows[1].reshape(descriptor.BINS["flow"], -1).sum(axis=1)
    assert bins.argmax() == descriptor.BINS["flow"] // 4


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_mirrored_rows_are_those_of_the_mirrored_picture(stream):
    frames = random(0).uniform(-1, 1, (2, HEIGHT, WIDTH, 3 if stream == "rgb" else 2))
    frames = frames.astype(np.float32)
    flipped = np.ascontiguousarray(frames[:, :, ::-1])
    if stream == "flow":
        flipped[..., 0] *= -1
    rows = descriptor.describe(stream, frames)
    expected = descriptor.describe(stream, flipped)
    np.testing.assert_allclose(
        descriptor.mirrored(stream, rows, HEIGHT, WIDTH), expected, rtol=1e-3, atol=1e-3
    )


def test_a_sign_is_known_from_one_clip():
    comparer = comparison()
    for number, sign in enumerate(("across", "down", "circle")):
        probabilities = answer(comparer, path(sign, num_frames=16, moved=(1, 1)))
        assert probabilities.argmax() == number
        assert probabilities[number] > 0.5


@pytest.mark.parametrize("num_frames", [11, 22])
def test_other_speeds_are_the_same_sign(num_frames):
    assert answer(comparison(), path("circle", num_frames, (1, 0))).argmax() == 2


def test_the_clip_moved_by_a_tenth_is_the_same_sign():
    assert answer(comparison(), path("down", moved=(6, -4))).argmax() == 1


def test_the_very_same_clip_is_not_compared_with_itself_where_examples_are_judged():
    comparer = comparison()
    assert answer(comparer, path("down"))[1] > 0.9
    comparer.without_same = True
    assert answer(comparer, path("down"))[1] == 0


def test_signs_that_are_each_others_mirror_images_are_told_apart():
    moves = [(0, 0), (1, 1), (0, 2)]
    rightwards = [path("across", moved=move) for move in moves]
    leftwards = [clip[::-1] for clip in rightwards]
    rows = np.stack([rows_of(clip) for clip in rightwards + leftwards])
    comparer = compared_with(Examples(rows, [0] * 3 + [1] * 3, 2))
    query = path("across", moved=(2, 1))
    assert answer(comparer, query).argmax() == 0
    assert answer(comparer, query[::-1]).argmax() == 1


def test_what_is_unlike_all_examples_is_none_of_them():
    rows = np.stack(
        [rows_of(path(s, moved=m)) for s in ("across", "down") for m in ((0, 0), (1, 1))]
    )
    comparer = compared_with(Examples(rows, [0, 0, 1, 1], 2))
    known = answer(comparer, path("down", moved=(1, 0)))
    unlike = random(5).uniform(-1, 1, (16, HEIGHT, WIDTH, 3)).astype(np.float32)
    assert known.sum() > 0.5 > answer(comparer, unlike).sum()


def test_no_examples_make_no_probability():
    comparer = compared_with(Examples([], [], 0))
    assert answer(comparer, path("down")).shape == (0,)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "signs", [("across", "across"), ("across",) * 4, ("across",) * 2 + ("down",)]
)
def test_the_same_clip_in_two_signs_is_no_fault(signs):
    found = answer(comparison(signs), path("across"))
    assert found[0] == found[1]
    assert found.sum() > 0.9 * signs.count("across") ** -ONE_SIGN


def test_one_example_of_one_sign_is_enough():
    comparer = comparison(["circle"])
    assert answer(comparer, path("circle", moved=(1, 0)))[0] > 0.5


def test_examples_come_and_go():
    examples = comparison(["across", "down"]).examples[HOG_HOF]
    taught = examples.with_clip(rows_of(path("circle")), 2, 3)
    assert len(taught) == 3
    views = rows_of(path("circle", moved=(1, 0)))[None]
    assert distances_of(taught, views).argmin() == 2
    assert len(examples) == 2  # which others may still be asked
    assert distances_of(taught.without_last(2), views).shape == (2,)


def test_many_examples_take_one_more_without_finding_out_anew():
    rows = random(0).random((102, 8, 30))
    examples = Examples(rows[:-1], np.arange(101) % 4, 4)
    taught = examples.with_clip(rows[-1], 3, 4)
    whole = Examples(rows, taught.classes, 4, like=examples)
    query = random(2).random((1, 8, 30))
    np.testing.assert_allclose(taught.distances(query), whole.distances(query), rtol=1e-4)
    back = taught.without_last(4)
    np.testing.assert_allclose(back.distances(query), examples.distances(query), rtol=1e-6)


def test_of_many_examples_only_what_is_compared_is_kept_and_stored(tmp_path):
    rows = random(0).random((101, 8, 300))
    many = Examples(rows, np.arange(101) % 4, 4)
    few = Examples(rows[:100], np.arange(100) % 4, 4)
    assert few.rows.shape == (100, 8, 300) and many.rows is None
    query = random(2).random((3, 8, 300))
    for name, examples in (("few", few), ("many", many)):
        files.save(tmp_path / f"{name}.npz", compared_with(examples))
        loaded = files.load(tmp_path / f"{name}.npz", 4)[0][HOG_HOF]
        np.testing.assert_allclose(
            distances_of(loaded, query), distances_of(examples, query), rtol=1e-5
        )
        np.testing.assert_allclose(loaded.left_out()[0], examples.left_out()[0], rtol=1e-4)
        back = loaded.without_last(4).without_last(4)
        assert len(back) == len(examples) - 2 == len(back.with_clip(rows[0], 0, 4)) - 1
    with np.load(tmp_path / "many.npz") as file:
        np.savez(tmp_path / "many.npz", **{**file, "classes": np.arange(100) % 4})
    with pytest.raises(ValueError, match="holds no examples"):
        files.load(tmp_path / "many.npz")


def test_a_file_gives_back_the_same_answers_without_finding_out_anew(tmp_path, monkeypatch):
    comparer = comparison()
    files.save(tmp_path / "rgb.npz", comparer)
    monkeypatch.delattr(Examples, "_fit")
    examples, weights = files.load(tmp_path / "rgb.npz", 3)
    assert weights is None
    other = Comparison("rgb", examples, HEIGHT, WIDTH)
    clip = path("circle", moved=(2, 1))
    np.testing.assert_array_equal(answer(other, clip), answer(comparer, clip))


def test_files_that_cannot_be_are_told(tmp_path):
    path = tmp_path / "rgb.npz"
    path.write_bytes(b"no file")
    with pytest.raises(ValueError, match="holds no examples"):
        files.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match="holds no examples"):
        files.load(path)
    files.save(path, comparison())
    with pytest.raises(ValueError, match="3 signs, but run.json beside it lists 5"):
        files.load(path, 5)


def test_several_clips_of_a_sign_tell_how_near_its_own_are():
    signs = ("across", "down", "circle")
    moves = [(0, 0), (1, 0), (0, 1), (2, 1)]
    rows = np.stack([rows_of(path(sign, moved=move)) for sign in signs for move in moves])
    classes = np.repeat(np.arange(3), 4)
    examples = Examples(rows, classes, 3)
    distances, found = examples.left_out()
    assert len(found) == 12
    assert (distances.argmin(axis=1) == found).all()
    assert examples.temperature < TEMPERATURE  # nothing is confused
    firsts = Examples(rows[::4], classes[::4], 3, is_alone=False)
    several = Examples(rows, classes, 3, is_alone=False)
    assert (examples.limit, firsts.limit, several.limit) == (LIMIT, LIMIT, OF_FRAMES[0])
    assert several.without_last(3).limit == several.with_clip(rows[0], 0, 3).limit
    one_by_one = firsts
    for row, number in zip(rows[1::4], classes[1::4], strict=True):
        one_by_one = one_by_one.with_clip(row, number, 3)
    assert one_by_one.limit == OF_FRAMES[0]


def test_what_speaks_for_two_signs_alike_is_less_known():
    comparer = comparison()
    clear, doubtful = ([[0.5, other, 1.0]] for other in (0.9, 0.5))
    clear, doubtful = comparer.probabilities_at(np.array([clear, doubtful], np.float32))
    assert clear[0] > 0.99 and doubtful[0] == doubtful[1]
    assert doubtful.sum() == pytest.approx(clear.sum() * 0.5**ONE_SIGN, rel=1e-3)


@pytest.mark.filterwarnings("error")
def test_of_two_ways_the_one_that_tells_signs_apart_decides():
    examples = comparison().examples[HOG_HOF]
    together = Comparison("rgb", {HOG_HOF: examples, SIGNS: examples}, HEIGHT, WIDTH)
    alike, clear = [0.7, 0.72, 0.71], [1.1, 1.6, 0.5]
    ways = [[alike, clear], [clear, alike], [alike, np.multiply(clear, 100)], [clear, clear]]
    found = together.probabilities_at(np.array(ways, np.float32))
    assert (found.argmax(axis=1) == 2).all()
    assert found[:3].max() < found[3].max() > 0.9
    without = np.array([[[0.7, 0.5, np.inf], [0.5, 0.7, np.inf]]], np.float32)
    by_network, by_hog_hof, none = together.probabilities_at(without)[0]
    assert by_network > by_hog_hof > 0.1 and none == 0  # of two that are as clear, the network
    nothing = np.full((1, 2, 3), np.inf, np.float32)  # every example is left out
    assert together.probabilities_at(nothing).tolist() == [[0, 0, 0]]


class Places:
    """In the place of a network: where the brightest pixels of frames are, which is all it sees."""

    size = (32, 48)
    is_open = False  # which must not wait for the answer

    def open(self):
        self.is_open = True

    def features(self, clip):
        return np.concatenate([self.view(clip), self.view(clip[:, :, ::-1])])

    def view(self, clip):
        assert self.is_open and clip.shape[1:] == (*self.size, 3)
        return places_in(clip)

    def fingerprint(self):
        return "of places"


def places_in(clip):
    bright = clip[..., 0] > 0.9
    found = [np.argwhere(frame).mean(axis=0) for frame in bright[::4]]
    return (np.array(found, np.float32) / Places.size - 0.5).reshape(1, -1)


def with_places(clips):
    network = Places()
    network.open()
    rows = {
        HOG_HOF: np.stack([rows_of(clip) for clip in clips]),
        SIGNS: np.stack([network.features(clip[:, 8:40, 8:56]) for clip in clips]),
    }
    examples = fit("rgb", rows, np.arange(3), 3)
    return Comparison("rgb", examples, HEIGHT, WIDTH, Places())


SIGNS_OF_PLACES = ("across", "down", "circle")


def before_stripes(clip):
    """The same before another wall: to HOG it is something else."""
    stripes = np.where(np.arange(WIDTH)[:, None] // 3 % 2, 0.8, -0.8)
    return np.where(clip > 0.9, clip, stripes).astype(np.float32)


def test_the_network_is_asked_about_what_is_unlike_all_examples():
    clips = [path(sign) for sign in SIGNS_OF_PLACES]
    alone, together = comparison(), with_places(clips)
    for number, sign in enumerate(SIGNS_OF_PLACES):
        query = path(sign, moved=(1, 1))
        assert np.abs(answer(together, query) - answer(alone, query)).max() < 0.2
        strange = before_stripes(query)
        assert answer(alone, strange).sum() < 0.5
        found = answer(together, strange)
        assert found.argmax() == number and 0.5 < found.sum() <= 1


def test_a_sign_is_known_when_the_other_hand_performs_it():
    known = with_places([path(sign) for sign in SIGNS_OF_PLACES])
    clip = before_stripes(path("across")[:, :, ::-1])
    assert answer(known, clip).argmax() == 0
    _, of_network = known.class_distances(known.describe(clip))
    assert of_network[0] < 0.5 * of_network[1:].min()


def test_whole_clips_are_as_far_as_the_nearer_of_an_examples_two_rows():
    rows = unit(random(0).normal(size=(120, 2, 64)))
    examples = Examples(rows, np.arange(120), 120, (Whole,), is_alone=False)
    for view in (0, 1):
        found = examples.distances(rows[7, view][None, None])
        assert found.argmin() == 7 and found[7] == pytest.approx(0, abs=1e-3)
    between = rows[7, 1] + rows[8, 0]  # as near to both, but for what being mirrored costs
    found = examples.distances(between[None, None])
    assert found.argsort()[:2].tolist() == [8, 7]
    assert found[7] / found[8] == pytest.approx(1.1, abs=0.03)
    as_before = Examples(rows[:, :1], np.arange(120), 120, (Whole,), is_alone=False)
    assert as_before.distances(rows[7, 1][None, None])[7] > 0.5


@pytest.mark.parametrize("number", [20, 120])
def test_signs_that_are_each_others_mirror_images_to_a_network_are_told_apart(number):
    rows = unit(random(0).normal(size=(number, 2, 64)))
    rows[-1] = rows[0, ::-1]
    kinds = {"kinds": (Whole,), "is_alone": False}
    alone = Examples(rows[:-1], np.arange(number - 1), number - 1, **kinds)
    assert alone.distances(rows[-1, :1][None])[0] == pytest.approx(0, abs=1e-3)
    both = Examples(rows, np.arange(number), number, **kinds)
    for each in (both, alone.with_clip(rows[-1], number - 1, number)):
        for sign, image in ((0, -1), (-1, 0)):
            found = each.distances(rows[sign, :1][None])
            assert found[sign] == pytest.approx(0, abs=1e-3) and found[image] > 0.6
        assert each.distances(rows[2, 1:][None])[2] == pytest.approx(0, abs=1e-3)
        back = each.without_last(number - 1)
        assert back.distances(rows[-1, :1][None])[0] == pytest.approx(0, abs=1e-3)


def test_what_the_network_knows_comes_and_goes_and_is_kept(tmp_path):
    known = with_places([path(sign) for sign in SIGNS_OF_PLACES])
    strange = before_stripes(path("across")[::-1])
    taught = known.with_clip(known.describe(strange), 3, 4)
    assert len(taught) == 4 and list(taught.classes) == [0, 1, 2, 3]
    assert answer(taught, strange).argmax() == 3
    back = taught.without_last(3)
    np.testing.assert_allclose(answer(back, strange), answer(known, strange), atol=1e-4)
    files.save(tmp_path / "rgb.npz", taught)
    examples, weights = files.load(tmp_path / "rgb.npz", 4)
    assert weights == "of places"
    other = Comparison("rgb", examples, HEIGHT, WIDTH, Places())
    np.testing.assert_array_equal(answer(other, strange), answer(taught, strange))
