"""predict.py: one preprocessing for files, folders and streams; fusion; the command line."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest

import opticalflow
import predict
from common.video import read_clip, sample_indices
from predict import Recognizer
from tests.helpers import moving_square, run_script


@pytest.fixture(scope="module")
def recognizer(trained_run):
    return Recognizer(trained_run)


def test_answer_ranks_all_signs_by_fused_probability(recognizer):
    answer = recognizer.predict(moving_square(12, (1.5, 0), (40, 48)))
    labels = recognizer.run.labels
    weight = recognizer.run.fusion_weight
    fused = weight * np.array(answer.streams["rgb"]) + (1 - weight) * np.array(
        answer.streams["flow"]
    )
    assert [label for label, _, _ in answer.ranking] == [labels[i] for i in np.argsort(-fused)]
    assert [p for _, _, p in answer.ranking] == pytest.approx(sorted(fused, reverse=True))
    assert sum(p for _, _, p in answer.ranking) == pytest.approx(1, abs=1e-5)
    assert {name for _, name, _ in answer.ranking} == {"left", "right"}


@pytest.mark.parametrize("num_frames", [3, 8, 12, 50])
@pytest.mark.parametrize("size", [(40, 48), (96, 128)])
def test_streaming_gives_the_same_answer(recognizer, num_frames, size):
    frames = moving_square(num_frames, (1, 0), size)
    stream = recognizer.stream(num_frames)
    for image in frames:
        stream.add(image)
    assert stream.answer() == recognizer.predict(frames)


def test_a_stream_answers_when_all_frames_are_there(recognizer):
    stream = recognizer.stream(12)
    stream.add(np.zeros((40, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="1 of 12 frames"):
        stream.answer()


def test_evenly_picked_frames_reach_the_networks(recognizer, monkeypatch):
    seen = {}
    for stream, network in recognizer.networks.items():

        def remember(inputs, stream=stream):
            seen[stream] = inputs
            return np.full((1, 2), 0.5, np.float32)

        monkeypatch.setitem(network._parts, "whole", remember)
    frames = moving_square(30, (0.5, 0), (40, 48))
    recognizer.predict(frames)
    picked = frames[sample_indices(30, 8)]
    assert np.array_equal(seen["rgb"][0], predict.network_input.rgb_input(picked, 32, 32))
    flow = opticalflow.frames_to_flow(picked)
    assert np.array_equal(seen["flow"][0], predict.network_input.flow_input(flow, 32, 32))


def test_fusion_is_the_weighted_mean():
    rgb, flow = np.array([[0.8, 0.2]]), np.array([[0.4, 0.6]])
    assert predict.fuse({"rgb": rgb, "flow": flow}, 0.25) == pytest.approx(np.array([[0.5, 0.5]]))
    assert predict.fuse({"flow": flow}, 0.9) is flow


@pytest.mark.parametrize(
    "frames", [np.zeros((8, 40, 48, 3)), np.zeros((40, 48, 3), np.uint8), np.zeros((0, 9, 9, 3))]
)
def test_other_arrays_are_refused(recognizer, frames):
    with pytest.raises(ValueError, match="Received: "):
        recognizer.predict(frames)


def test_unknown_engine_is_refused(trained_run):
    with pytest.raises(ValueError, match="engine is one of .*Received: tpu"):
        Recognizer(trained_run, engine="tpu")


def test_folders_hold_images_or_videos(tmp_path, stored_dataset):
    videos = stored_dataset.video_dir / "test" / "left"
    assert predict.find_clips([videos]) == sorted(videos.iterdir())
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "0.png"), np.zeros((40, 48, 3), np.uint8))
    assert predict.find_clips([images]) == [images]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Neither images nor .*Seen: 0 files\. Accepted: "):
        predict.find_clips([tmp_path / "empty"])
    (tmp_path / "empty" / "clip.rar").write_bytes(b"x")
    with pytest.raises(FileNotFoundError) as caught:
        predict.find_clips([tmp_path / "empty"])
    for words in ("Seen: 1 file, such as", "clip.rar", ".avi ", ".mp4 ", ".bmp .jpeg .jpg .png"):
        assert words in str(caught.value)
    with pytest.raises(FileNotFoundError, match="No file or folder"):
        predict.find_clips([tmp_path / "nothing"])


def test_command_line_answers_for_files_and_image_folders(
    stored_dataset, trained_run, recognizer, tmp_path
):
    video = stored_dataset.videos()[0].path
    images = tmp_path / "images"
    images.mkdir()
    frames = read_clip(video, 8, 40, 48)
    for number, image in enumerate(frames):
        cv2.imwrite(str(images / f"{number}.png"), image)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    result = run_script(
        *("predict.py", "--model", trained_run, "--json", video, images, bad),
        cwd=stored_dataset.root,
        check=1,
    )
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer.pop("clip") for answer in answers] == [str(video), str(images)]
    expected = recognizer.predict(frames).to_dict()
    for answer in answers:
        assert answer["streams"]["rgb"] == pytest.approx(expected["streams"]["rgb"], abs=1e-5)
        assert answer["streams"]["flow"] == pytest.approx(expected["streams"]["flow"], abs=1e-5)
        assert [sign["class"] for sign in answer["ranking"]] == [
            sign["class"] for sign in expected["ranking"]
        ]
    assert f"failed: {bad}" in result.stderr and "Traceback" not in result.stderr


def test_wrong_inputs_are_told_before_keras_is_imported(tmp_path, trained_run):
    missing = run_script("predict.py", "nothing.mp4", cwd=tmp_path, check=1, timeout=30)
    assert "No file or folder nothing.mp4" in missing.stderr
    no_model = run_script("predict.py", tmp_path.parent, cwd=tmp_path, check=1, timeout=30)
    assert "Traceback" not in no_model.stderr
    folder = shutil.copytree(trained_run, tmp_path / "model" / "run")
    for stream in ("rgb", "flow"):
        (folder / f"{stream}.keras").unlink()
    (tmp_path / "clip.avi").write_bytes(b"x")
    empty = run_script("predict.py", "--model", folder, "clip.avi", cwd=tmp_path, check=1)
    assert "has no network yet" in empty.stderr


def test_videos_win_over_pictures_beside_them_and_hidden_names_are_skipped(
    tmp_path, stored_dataset, capsys
):
    folder = shutil.copytree(stored_dataset.video_dir / "test" / "left", tmp_path / "clips")
    cv2.imwrite(str(folder / "cover.png"), np.zeros((40, 48, 3), np.uint8))
    (folder / "._0.avi").write_bytes(b"of another system")
    clips = predict.find_clips([folder])
    assert [clip.name for clip in clips] == ["0.avi", "1.avi"]
    warning = capsys.readouterr().err
    assert warning == (
        f"warning: 1 file beside the videos is not used, such as {folder / 'cover.png'}\n"
    )
    (folder / "deeper").mkdir()
    (folder / "deeper" / "notes.txt").write_text("of the signer")
    assert predict.find_clips([folder]) == clips
    assert "warning: 2 files beside the videos are not used, such as" in capsys.readouterr().err
    images = tmp_path / "images"
    images.mkdir()
    for name in ("0.jpg", "._0.jpg"):
        cv2.imwrite(str(images / name), np.zeros((40, 48, 3), np.uint8))
    (images / "._0.jpg").write_bytes(b"of another system")
    assert predict.find_clips([images]) == [images] and not capsys.readouterr().err
    (images / "notes.txt").write_text("of the signer")
    assert predict.find_clips([images]) == [images]
    assert "1 file beside the pictures is not used" in capsys.readouterr().err
    assert read_clip(images, 4, 40, 48).shape == (4, 40, 48, 3)


def test_a_folder_that_may_not_be_read_is_told_to_be_so(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=f"{tmp_path} may not be read"):
        predict.find_clips([tmp_path])


def test_a_single_picture_is_no_clip(tmp_path):
    cv2.imwrite(str(tmp_path / "cover.png"), np.zeros((40, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="it is one picture"):
        read_clip(tmp_path / "cover.png", 4, 40, 48)


def test_what_the_shell_did_not_expand_is_expanded(tmp_path, stored_dataset, monkeypatch):
    shutil.copytree(stored_dataset.video_dir / "test" / "left", tmp_path / "clips")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    expected = [tmp_path / "clips" / name for name in ("0.avi", "1.avi")]
    assert predict.find_clips([tmp_path / "clips" / "*.avi"]) == expected
    assert predict.find_clips(["~/clips/0.avi"]) == expected[:1]
    with pytest.raises(FileNotFoundError, match="No file or folder ~nosuchuser/x.avi"):
        predict.find_clips(["~nosuchuser/x.avi"])


def test_a_run_is_found_by_its_name_and_without_one_the_newest_is_taken(
    trained_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(trained_run.parent.parent)
    assert Recognizer(trained_run.name).run.labels == Recognizer(trained_run).run.labels
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained_run, tmp_path / "model" / "only")
    assert Recognizer().run.folder.name == "only"
