"""weights/kinetics.py against a local HTTP server: the first source, the second, neither."""

import shutil
import socket
import threading
import time

import pytest

import i3d_weights
from tests.weights import formats
from weights import download, files, kinetics

NAME = i3d_weights.FILE_NAME.format("flow")
INDEX, DATA = kinetics.CHECKPOINT_NAMES


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """{path on the server: content}: what both sources have of the flow stream."""
    folder = tmp_path_factory.mktemp("published")
    layers = formats.recipe_layers(2, num_classes=400)
    headless = {name: layers[name] for name in layers if name != "Conv3d_6a_1x1_conv"}
    keras_file = formats.write_hdf5(folder / NAME, headless)
    variables = formats.tensorflow_variables(layers, "Flow/inception_i3d/")
    prefix = formats.write_checkpoint(folder / "flow_imagenet" / "model.ckpt", variables)
    return {f"/release/{NAME}": keras_file.read_bytes()} | {
        f"/checkpoints/flow_imagenet/{name}": prefix.with_name(name).read_bytes()
        for name in kinetics.CHECKPOINT_NAMES
    }


@pytest.fixture
def sources(server, published, tmp_path, monkeypatch):
    """The server as both sources; the cache is `tmp_path / "i3d"`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(i3d_weights, "RELEASE_URL", f"{server.url}/release")
    monkeypatch.setattr(i3d_weights, "CHECKPOINT_URL", f"{server.url}/checkpoints")
    monkeypatch.setattr(download, "READ_SECONDS", 10)
    server.content, server.files = None, dict(published)
    return server


def without_first(sources):
    del sources.files[f"/release/{NAME}"]


def find():
    return i3d_weights.find_weights("kinetics", "flow")


def left(folder):
    """Names in the cache."""
    places = (path.relative_to(folder / "i3d") for path in (folder / "i3d").rglob("*"))
    return {str(place) for place in places}


CHECKPOINT = {"flow_imagenet"} | {
    f"flow_imagenet/{name}{end}" for name in (INDEX, DATA) for end in ("", ".sha256")
}


def test_the_first_source_is_enough(sources, tmp_path):
    sources.faults += ["cut"]
    path = find()
    assert path == tmp_path / "i3d" / NAME and files.read(path).num_classes is None
    assert left(tmp_path) == {NAME, f"{NAME}.sha256"}
    assert sources.paths == [f"/release/{NAME}"] * 2
    assert i3d_weights.find_weights(path.parent, "flow") == path


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def silent_port():
    """A listener whose queue is full: it never answers."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    yield full.getsockname()[1]
    for each in (full, *waiting):
        each.close()


FIRST_FAILS = ("refuses", "is silent", "404", "403", "503", "web page", "damaged", "other stream")


@pytest.mark.parametrize("fault", FIRST_FAILS)
def test_what_the_first_source_does_not_deliver_comes_from_the_second(
    sources, tmp_path, monkeypatch, silent_port, capsys, fault
):
    place = f"/release/{NAME}"
    if fault in ("refuses", "is silent"):
        port = closed_port() if fault == "refuses" else silent_port
        monkeypatch.setattr(i3d_weights, "RELEASE_URL", f"http://127.0.0.1:{port}/release")
    elif fault == "web page":
        sources.faults += ["page"]
    elif fault == "damaged":
        sources.files[place] = sources.files[place][:200_000]
    elif fault == "other stream":
        rgb = formats.write_hdf5(tmp_path / "rgb.h5", formats.recipe_layers(3))
        sources.files[place] = rgb.read_bytes()
    else:
        sources.faults += [fault] * (download.MAX_FAILURES if fault == "503" else 1)
    path = find()
    assert path == tmp_path / "i3d" / "flow_imagenet" / INDEX
    stored = files.read(path)
    assert (stored.stream, stored.num_classes, len(stored.paths)) == ("flow", 400, 2)
    assert left(tmp_path) == CHECKPOINT
    assert f"Trying {sources.url}/checkpoints instead" in capsys.readouterr().err
    # From now on the network is not asked, whichever source is back.
    sources.paths.clear()
    assert find() == path and sources.paths == []
    assert i3d_weights.find_weights(path.parent.parent, "flow") == path


def test_where_neither_delivers_both_are_named_with_what_to_put_where(
    tmp_path, monkeypatch, silent_port
):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for port in (closed_port(), silent_port):
        started = time.monotonic()
        release, checkpoints = (f"http://127.0.0.1:{port}/{name}" for name in ("one", "two"))
        monkeypatch.setattr(i3d_weights, "CHECKPOINT_URL", checkpoints)
        with pytest.raises(FileNotFoundError) as error:
            i3d_weights.find_weights("kinetics", "flow", base_url=release)
        assert time.monotonic() - started < 2 * download.CONNECT_SECONDS + 1
        message = str(error.value)
        assert message.count("127.0.0.1 is out of reach") == 2
        for stream in ("rgb", "flow"):
            assert f"{release}/{i3d_weights.FILE_NAME.format(stream)}" in message
            assert all(
                f"{checkpoints}/{stream}_imagenet/{name}" in message for name in (INDEX, DATA)
            )
            assert f"into {tmp_path / 'i3d' / stream}_imagenet" in message
        assert f"into {tmp_path / 'i3d'}\n" in message and "--weights none" in message


def test_half_a_checkpoint_is_none_and_is_gone_on_from(sources, tmp_path):
    without_first(sources)
    sources.faults += ["404", "", "cut", *["503"] * 9]
    with pytest.raises(FileNotFoundError, match="404 .*\n.*MB are kept"):
        find()
    assert not (tmp_path / "i3d" / "flow_imagenet").exists()
    with pytest.raises(FileNotFoundError, match="No weights of the flow"):
        i3d_weights.find_weights(tmp_path / "i3d", "flow")
    sources.faults.clear()
    sources.paths.clear()
    half = len(sources.files[f"/checkpoints/flow_imagenet/{DATA}"]) // 2
    assert find().name == INDEX and left(tmp_path) == CHECKPOINT
    assert sources.paths == [f"/release/{NAME}", f"/checkpoints/flow_imagenet/{DATA}"]
    assert sources.requests[-1]["Range"] == f"bytes={half}-"


def other_stream(contents):
    contents[f"/checkpoints/rgb_imagenet/{INDEX}"] = contents[f"/checkpoints/flow_imagenet/{INDEX}"]
    contents[f"/checkpoints/rgb_imagenet/{DATA}"] = contents[f"/checkpoints/flow_imagenet/{DATA}"]
    return "rgb", "holds the flow stream"


def one_bit(contents):
    place = f"/checkpoints/flow_imagenet/{DATA}"
    content = bytearray(contents[place])
    content[len(content) // 2] ^= 1
    contents[place] = bytes(content)
    return "flow", "not a whole checkpoint"


def page_for_the_numbers(contents):
    contents[f"/checkpoints/flow_imagenet/{DATA}"] = b"<html>Please log in</html>"
    return "flow", "not a whole checkpoint"


def page_for_the_index(contents):
    contents[f"/checkpoints/flow_imagenet/{INDEX}"] = b"<html>Please log in</html>"
    return "flow", "not the index of a TensorFlow checkpoint"


@pytest.mark.parametrize(
    "change", [other_stream, one_bit, page_for_the_numbers, page_for_the_index]
)
def test_a_wrong_checkpoint_is_not_kept(sources, tmp_path, change):
    without_first(sources)
    stream, reason = change(sources.files)
    with pytest.raises(FileNotFoundError, match=f"{reason}.*nothing is kept"):
        i3d_weights.find_weights("kinetics", stream)
    assert not any(path.endswith((INDEX, DATA)) for path in left(tmp_path))


def put(sources, folder, *names):
    (folder / "i3d" / "flow_imagenet").mkdir(parents=True, exist_ok=True)
    for name in names:
        content = sources.files[f"/checkpoints/flow_imagenet/{name}"]
        (folder / "i3d" / "flow_imagenet" / name).write_bytes(content)


def test_a_checkpoint_put_there_by_hand_is_checked_and_recorded(sources, tmp_path):
    put(sources, tmp_path, INDEX, DATA)
    data = tmp_path / "i3d" / "flow_imagenet" / DATA
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        find()
    put(sources, tmp_path, DATA)
    assert find() == data.with_name(INDEX)
    assert left(tmp_path) == CHECKPOINT and sources.paths == []
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="not what was accepted: its SHA-256"):
        find()


def test_half_a_checkpoint_put_there_by_hand_is_said(sources, tmp_path):
    put(sources, tmp_path, INDEX)
    assert find() == tmp_path / "i3d" / NAME
    (tmp_path / "i3d" / NAME).unlink()
    without_first(sources)
    with pytest.raises(FileNotFoundError, match=f"flow_imagenet has no {DATA}: put it there"):
        find()


def test_a_file_that_is_there_and_damaged_is_said_and_not_replaced(sources, tmp_path):
    path = find()
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match="not what was accepted"):
        find()
    assert left(tmp_path) == {NAME, f"{NAME}.sha256"}


def test_two_at_once_download_the_checkpoint_once(sources, tmp_path):
    without_first(sources)
    found = []
    threads = [threading.Thread(target=lambda: found.append(find())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "i3d" / "flow_imagenet" / INDEX] * 2
    assert sum(path.endswith(DATA) for path in sources.paths) == 1


def test_the_checkpoint_has_the_head_of_400_classes_too(sources, tmp_path):
    path = i3d_weights.find_weights("kinetics", "flow", with_top=True)
    assert path.name == INDEX and files.read(path).num_classes == 400
    shutil.rmtree(path.parent)
    with pytest.raises(FileNotFoundError, match=i3d_weights.FILE_NAME.format("rgb")[:30]):
        i3d_weights.find_weights("kinetics", "rgb")
