"""The weights that come with the project: whole, small, and they know what signing is."""

import json

import numpy as np
import pytest

import i3d_weights
from common.network_input import STREAMS, stream_input
from common.presets import PRESETS
from inference.extractor import SignsNetwork
from nearest.examples import Examples
from nearest.kinds import Whole
from pretraining import drawn
from weights.files import sha256

FOLDER = i3d_weights.SIGNS_DIR
WAYS = 20


def test_they_are_those_of_their_recipe_and_small():
    recipe = json.loads((FOLDER / "recipe.json").read_text())
    files = [i3d_weights.find_weights("signs", stream) for stream in STREAMS]
    assert [recipe[stream]["sha256"] for stream in STREAMS] == [sha256(path) for path in files]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000
    assert recipe["version"] == drawn.VERSION


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """Folder and `DrawnClip`s of signs and people of another seed: two clips of each sign."""
    folder = tmp_path_factory.mktemp("unseen")
    clips = drawn.clips_of("val", drawn.Amounts(WAYS, 2, 30), seed=77)
    report = drawn.draw(folder, clips, PRESETS["laptop"], workers=2)
    assert report.done == 2 * WAYS
    return folder, clips


@pytest.mark.parametrize("stream", STREAMS)
def test_signs_that_nobody_has_seen_are_known_from_one_clip_by_another_person(unseen, stream):
    folder, clips = unseen
    network = SignsNetwork(stream)
    stored = [drawn.read_clip(folder / clip.place(), stream)[0] for clip in clips]
    rows = np.stack([network.features(stream_input(stream, s, *network.size)) for s in stored])
    known = Examples(rows[:WAYS], np.arange(WAYS), WAYS, (Whole,))
    found = [known.distances(row[None]).argmin() for row in rows[WAYS:]]
    assert np.sum(found == np.arange(WAYS)) >= WAYS / 3  # guessing names one
