"""A small data set with its frames and flow, and a run trained on it, for all tests."""

import os
import signal
from pathlib import Path

import pytest

from tests.helpers import make_dataset, train_shallow

# Files that take minutes. They come first, or one of two processes would wait for them in the end.
LONG = (
    "inference/test_engine.py",
    "cluster/test_cluster.py",
    "tvl1/test_tvl1.py",
    "test_pipeline.py",
    "test_train_mobile_lstm.py",
    "live/test_teaching.py",
    "test_pretrain.py",
    "weights/test_laptop.py",
    "inference/test_steps.py",
    "web/test_page.py",
)

# As `import_keras` sets it: tests that import Keras first must compute the same.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Programs that a shell starts in the background ignore Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """The tests of `LONG` files first, else in the order in which they were found."""
    places = {Path(__file__).parent / path: place for place, path in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def stored_dataset(tmp_path_factory):
    """`make_dataset` with its frames and flow; do not change it."""
    import frame
    import opticalflow

    dataset = make_dataset(tmp_path_factory.mktemp("stored"))
    assert frame.extract_frames(dataset, workers=1).exit_status == 0
    assert opticalflow.extract_flow(dataset, workers=1).exit_status == 0
    return dataset


@pytest.fixture(scope="session")
def trained_run(stored_dataset):
    """The folder of a `SHALLOW` run trained on `stored_dataset` and evaluated; do not change it."""
    import evaluate

    run = train_shallow(stored_dataset)
    evaluate.evaluate(run)
    return run
