"""evaluate.py: metrics with known answers, the fusion weight, splits and refusals."""

import json
import shutil

import numpy as np
import pytest

import evaluate
import frame
import opticalflow
import predict
from common import dataset as data
from evaluation import results
from inference import run_folder


def test_metrics_of_known_scores():
    scores = np.eye(6)[[0, 1, 1, 1, 2, 5]] + 1e-3 * np.arange(6, 0, -1)
    classes = np.array([0, 1, 1, 0, 0, 5])
    values = evaluate.metrics(scores, classes)
    assert values["top1"] == pytest.approx(4 / 6)
    assert values["macro_recall"] == pytest.approx((1 / 3 + 1 + 1) / 3)
    # class 5 comes last in every row but its own
    assert values["top5"] == 1
    assert evaluate.metrics(scores, np.full(6, 5))["top5"] == pytest.approx(1 / 6)


def test_confusions_are_counted_by_truth_and_answer():
    classes, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([1, 1, 0, 1, 0, 2])
    confusion = evaluate.confusion_matrix(predicted, classes, 3)
    assert confusion.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]
    assert evaluate.most_confused(confusion) == [(2, 0, 1), (1, 2, 0)]
    many = np.ones((8, 8), int)
    assert len(evaluate.most_confused(many)) == 10


def test_fusion_trusts_the_better_stream():
    classes = np.array([0, 1, 0, 1])
    right = np.eye(2)[classes] * 0.6 + 0.2
    wrong = 1 - right
    assert predict.choose_fusion_weight({"rgb": right, "flow": wrong}, classes) > 0.6
    assert predict.choose_fusion_weight({"rgb": wrong, "flow": right}, classes) < 0.4
    # Each stream knows half of the clips well and the other half not at all.
    half = np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55], [0.1, 0.9]])
    other = np.array([[0.45, 0.55], [0.1, 0.9], [0.9, 0.1], [0.55, 0.45]])
    assert 0.3 <= predict.choose_fusion_weight({"rgb": half, "flow": other}, classes) <= 0.7
    # Where the clips cannot tell, neither stream is left out, however sure one is of itself.
    assert predict.choose_fusion_weight({"rgb": right, "flow": np.eye(2)[classes]}, classes) == 0.5


@pytest.mark.parametrize(("signal", "gain"), [(0.0, -0.02), (1.5, 0.01), (3.0, 0.03)])
def test_ten_clips_are_enough_to_fuse(signal, gain):
    """With an RGB stream that knows nothing, a little, or as much as flow, and is sure of it."""
    random = np.random.default_rng(0)

    def scores(classes, signal):
        logits = random.standard_normal((len(classes), 6))
        logits[np.arange(len(classes)), classes] += signal
        powers = np.exp(3 * logits)
        return powers / powers.sum(axis=1, keepdims=True)

    gains = []
    for _ in range(100):
        classes = random.integers(0, 6, 310)
        streams = {"rgb": scores(classes, signal), "flow": scores(classes, 3.0)}
        few = {name: values[:10] for name, values in streams.items()}
        weight = predict.choose_fusion_weight(few, classes[:10])
        hits = [
            (values[10:].argmax(axis=1) == classes[10:]).mean()
            for values in (predict.fuse(streams, weight), streams["flow"])
        ]
        gains.append(hits[0] - hits[1])
    assert np.mean(gains) > gain


def test_evaluation_is_of_the_test_split_and_fits_its_parts(trained_run):
    result = json.loads((trained_run / "evaluation.json").read_text())
    assert result["test"]["num_videos"] == 4
    result = result["test"]
    assert set(result["streams"]) == {"rgb", "flow", "fused"}
    for values in result["streams"].values():
        assert set(values) == {"top1", "macro_recall"}
    assert 0 <= run_folder.Run.read(trained_run).fusion_weight <= 1
    assert (trained_run / "confusion.png").read_bytes()[:4] == b"\x89PNG"


def test_scores_are_those_of_predicting_the_stored_frames(stored_dataset, trained_run):
    import frame
    import predict

    recognizer = predict.Recognizer(trained_run)
    clips = [clip for clip in stored_dataset.stored_clips("rgb") if clip.split == "test"]
    streams, classes = evaluate.score(recognizer, clips)
    assert classes.tolist() == [0, 0, 1, 1]
    answer = recognizer.predict(frame.load_frames(clips[2].path))
    assert answer.streams["rgb"] == pytest.approx(streams["rgb"][2].tolist(), abs=1e-4)
    # Stored flow has passed through JPEG.
    assert answer.streams["flow"] == pytest.approx(streams["flow"][2].tolist(), abs=0.1)


def test_other_splits_can_be_asked_for_and_missing_ones_are_named(trained_run, capsys):
    before = json.loads((trained_run / "evaluation.json").read_text())["test"]
    assert evaluate.evaluate(trained_run, "train")["num_videos"] == 8
    assert "was trained on these clips" in capsys.readouterr().out
    assert evaluate.evaluate(trained_run, "val")["num_videos"] == 4
    evaluate.evaluate(trained_run)
    after = json.loads((trained_run / "evaluation.json").read_text())
    assert after["test"] == before and set(after) == {"train", "val", "test"}


def test_evaluation_is_not_repeated(trained_run, capsys):
    report = evaluate.evaluate_if_new(trained_run)
    assert (report.done, report.skipped) == (0, 4)
    assert "fused" in capsys.readouterr().out


def test_the_picture_of_another_split_has_a_name_of_its_own(trained_run):
    picture = trained_run / "confusion.png"
    before = picture.read_bytes()
    evaluate.evaluate(trained_run, "val")
    assert picture.read_bytes() == before
    assert (trained_run / "confusion-val.png").read_bytes()[:4] == b"\x89PNG"


@pytest.fixture
def moved_run(stored_dataset, trained_run, tmp_path):
    """(dataset, run) in a folder of their own."""
    shutil.copytree(stored_dataset.root, tmp_path / "root")
    dataset = data.Dataset("moves", root=tmp_path / "root")
    dataset.preset = stored_dataset.preset
    return dataset, dataset.root / "model" / trained_run.name


def test_a_picture_is_kept_where_another_split_tells_more(moved_run, capsys):
    dataset, run = moved_run
    (run / "evaluation.json").unlink()
    places = (dataset.video_dir, dataset.frame_dir, dataset.flow_dir)
    for place in places:
        (place / "test").rename(place.parent / f"{place.name}-test")
    (dataset.video_dir / "val" / "left" / "0.avi").unlink()
    evaluate.evaluate(run)
    assert "Validation clips of the training that are gone: 1." in capsys.readouterr().out
    of_val = (run / "confusion.png").read_bytes()
    for place in places:
        (place.parent / f"{place.name}-test").rename(place / "test")
    evaluate.evaluate(run)
    assert (run / "confusion-val.png").read_bytes() == of_val
    assert (run / "confusion.png").read_bytes() != of_val


def test_signs_that_the_run_does_not_know_are_left_out_and_told(moved_run, capsys):
    dataset, run = moved_run
    for folder in (dataset.video_dir, dataset.frame_dir, dataset.flow_dir):
        shutil.copytree(folder / "test" / "left", folder / "test" / "up")
    assert evaluate.evaluate(run)["num_videos"] == 4
    assert "Left out: 2 clips of 1 sign that" in capsys.readouterr().out


def test_a_result_of_clips_that_are_gone_or_replaced_is_not_shown_again(moved_run):
    dataset, run = moved_run
    evaluate.evaluate(run)
    assert evaluate.evaluate_if_new(run).skipped == 4
    (dataset.video_dir / "test" / "left" / "0.avi").unlink()
    assert evaluate.evaluate_if_new(run).done == 3
    assert evaluate.evaluate_if_new(run).skipped == 3
    path = dataset.video_dir / "test" / "left" / "1.avi"
    path.write_bytes(path.read_bytes() + b"0")
    frame.extract_frames(dataset, workers=1)
    opticalflow.extract_flow(dataset, workers=1)
    assert evaluate.evaluate_if_new(run).done == 3


def test_an_evaluation_of_one_split_as_it_was_written_before_still_opens(moved_run, capsys):
    _, folder = moved_run
    path = folder / "evaluation.json"
    result = json.loads(path.read_text())["test"]
    path.write_text(json.dumps({"split": "test", **result}))
    run = run_folder.Run.read(folder)
    assert results.read(run) == {"test": result}
    results.write(run, "val", result)
    assert set(results.read(run)) == {"test", "val"}


@pytest.mark.parametrize(
    ("num_signs", "num_clips", "num_right", "guesses"),
    [(2, 4, 2, True), (2, 4, 4, False), (8, 96, 12, True), (8, 96, 15, True), (8, 96, 19, False)]
    + [(2, 4, 3, None), (3, 9, 4, None), (2, 1, 1, None), (2, 1, 0, None), (1, 3, 3, False)],
)
def test_a_network_that_guesses_is_told_from_one_that_knows(
    trained_run, num_signs, num_clips, num_right, guesses
):
    run = run_folder.Run.read(trained_run)
    run.signs = [run.signs[0]] * num_signs
    top1 = {"fused": {"top1": num_right / num_clips}}
    result = {"num_videos": num_clips, "streams": top1}
    words = {True: results.GUESSING, False: "", None: results.TOO_FEW}
    assert results.beside_chance(run, result) == words[guesses]


def test_a_run_whose_validation_clips_were_chosen_otherwise_is_not_judged_on_them(moved_run):
    dataset, folder = moved_run
    for place in (dataset.video_dir, dataset.frame_dir, dataset.flow_dir):
        shutil.rmtree(place / "val")
    with pytest.raises(ValueError, match="chosen otherwise.*--restart"):
        evaluate.evaluate(folder)


def test_frames_of_another_size_are_refused(moved_run):
    dataset, run = moved_run
    path = dataset.frame_dir / "parameters.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "height": 96}))
    with pytest.raises(ValueError, match="height is 96, wanted 40.*--rebuild"):
        evaluate.evaluate(run)


def test_flow_of_another_method_is_refused(moved_run):
    dataset, run = moved_run
    path = dataset.flow_dir / "parameters.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "algorithm": "dis"}))
    with pytest.raises(ValueError, match="'tvl1'.*but .*oflow was made with.*'dis'"):
        evaluate.evaluate(run)


def test_without_a_test_split_validation_is_reported(moved_run):
    dataset, run = moved_run
    shutil.rmtree(dataset.frame_dir / "test")
    shutil.rmtree(dataset.flow_dir / "test")
    assert evaluate.evaluate(run)["split"] == "val"
    with pytest.raises(FileNotFoundError, match="no clips in test. There are: train, val"):
        evaluate.evaluate(run, "test")
