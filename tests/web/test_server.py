"""The server between a page and a session: who may use it, and what it makes of what comes in."""

import asyncio
import json
import socket
import struct
import subprocess
import time
import types

import cv2
import numpy as np
import pytest

from live.camera import KEPT_SHOTS
from live.picture import GREEN, View
from live.state import ENTER, MAX_NAME, Demo, State
from tests.helpers import run_script, wait
from web import camera as browser_camera
from web.camera import MAX_SIDE_PX, MOST_PER_SECOND, NO_PAGE, BrowserCamera, decode
from web.server import BUSY, HEADERS, MAX_KEYS_PER_SECOND, Server
from web.window import BrowserWindow, message_of

aiohttp = pytest.importorskip("aiohttp")
PICTURE = np.full((48, 64, 3), (200, 100, 50), np.uint8)


def jpeg(image=PICTURE):
    return cv2.imencode(".jpg", image)[1].tobytes()


def stamped(seconds, picture=None):
    return struct.pack("<d", seconds) + (jpeg() if picture is None else picture)


def unpacked(message):
    """(content, camera's JPEG, second JPEG) of a message to the page."""
    (end,) = struct.unpack("<I", message[:4])
    content = json.loads(message[4 : 4 + end])
    (length,) = struct.unpack("<I", message[4 + end : 8 + end])
    return content, message[8 + end : 8 + end + length], message[8 + end + length :]


@pytest.fixture
def server():
    with Server("127.0.0.1", 0) as server:
        yield server


def get(server, path="/", token=None, **headers):
    """(status, text, headers) of a request."""

    async def request():
        token_of_address = server.address.partition("token=")[2]
        base = server.address.partition("/?")[0]
        query = {"token": token_of_address if token is None else token}
        async with (
            aiohttp.ClientSession() as session,
            session.get(base + path, params=query, headers=headers) as response,
        ):
            return response.status, await response.text(), response.headers

    return asyncio.run(request())


def talk(server, conversation, **headers):
    """Opens the socket and returns what `conversation(socket)` returns."""

    async def run():
        address = server.address.replace("/?", "/socket?")
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, headers=headers) as page,
        ):
            return await conversation(page)

    return asyncio.run(run())


def test_the_page_comes_with_its_files_and_safe_headers(server):
    status, text, headers = get(server)
    assert status == 200 and "page.js" in text and "{title}" not in text
    assert all(headers[name] == value for name, value in HEADERS.items())
    assert get(server, "/page.js", token="")[0] == 200
    assert get(server, "/style.css", token="")[0] == 200
    assert get(server, "/server.py")[0] == 404
    assert get(server, "/..%2fserver.py")[0] == 404


@pytest.mark.parametrize("path", ["/", "/socket"])
@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("", {}),
        ("wrong", {}),
        (None, {"Host": "evil.example:80"}),
        (None, {"Host": "127.0.0.1.evil.example"}),
        (None, {"Origin": "http://evil.example"}),
        (None, {"Origin": "null"}),
    ],
)
def test_strangers_are_refused(server, path, token, headers):
    assert get(server, path, token, **headers)[0] == 403
    assert server.camera.problem == NO_PAGE


def test_a_foreign_page_cannot_open_the_socket(server):
    async def nothing(page):
        return None

    with pytest.raises(aiohttp.WSServerHandshakeError):
        talk(server, nothing, Origin="https://evil.example")


def test_pictures_and_keys_come_in_and_views_go_out(server):
    async def conversation(page):
        await page.send_bytes(stamped(5.0))
        await page.send_bytes(stamped(5.2))
        await page.send_str('{"key": " "}')
        message = (await page.receive(20)).data
        await page.send_str('{"name": "안녕"}')
        await asyncio.sleep(0.3)
        return message

    server.window.show(View("READY", GREEN, camera=PICTURE, rows=[("hello", 0.5, True)]))
    content, camera, beside = unpacked(talk(server, conversation))
    assert content["heading"] == "READY" and content["color"] == "#009e73"
    assert content["rows"] == [{"text": "hello", "share": 0.5, "strong": True}]
    shown = cv2.imdecode(np.frombuffer(camera, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(shown.astype(int) - PICTURE).max() < 6 and beside == b""
    shots = server.camera.take(1)
    assert shots[0].image.shape == PICTURE.shape
    assert shots[-1].seconds <= time.monotonic()
    assert [server.window.key() for _ in range(3)] == [" ", f"{ENTER}안녕", None]


def test_a_view_waits_until_the_one_before_was_shown(server):
    async def conversation(page):
        seen = [unpacked((await page.receive(20)).data)[0]["heading"]]
        for number in range(1, 6):
            server.window.show(View(f"{number}"))
        with pytest.raises(asyncio.TimeoutError):
            await page.receive(0.3)
        await page.send_str('{"shown": 1}')
        seen.append(unpacked((await page.receive(20)).data)[0]["heading"])
        return seen

    server.window.show(View("0"))
    assert talk(server, conversation) == ["0", "5"]  # the newest one, and none of those between


def test_a_second_page_is_told_and_the_next_one_is_welcome(server):
    async def second(page):
        return (await page.receive(20)).data

    async def first(page):
        wait(lambda: server.camera.problem != NO_PAGE)
        return await asyncio.to_thread(talk, server, second)

    assert talk(server, first) == BUSY
    wait(lambda: server.camera.problem == NO_PAGE)  # the page was closed
    server.window.show(View("again"))
    assert unpacked(talk(server, second))[0]["heading"] == "again"


@pytest.mark.parametrize(
    "words",
    ["", "{", "[]", "7", '"text"', '{"key": 5}', '{"key": "ab"}', '{"name": 7}', "[" * 100_000]
    + ['{"problem": {"a": 1}}', '{"unknown": 1}', '{"key": null, "name": null}'],
)
def test_words_that_mean_nothing_do_nothing(server, words):
    async def conversation(page):
        await page.send_str(words)
        await page.send_bytes(b"short")
        await page.send_bytes(stamped(1.0, b"no jpeg"))
        await page.send_bytes(stamped(float("nan")))
        await page.send_str('{"key": "x"}')
        await asyncio.to_thread(wait, lambda: server.window._keys)

    talk(server, conversation)
    assert server.window.key() == "x" and server.window.key() is None
    assert server.camera.take() == []


def test_sizes_and_rates_are_bounded(server):
    async def conversation(page):
        for _ in range(5 * MAX_KEYS_PER_SECOND):
            await page.send_str('{"key": "x"}')
        for number in range(150):
            await page.send_bytes(stamped(number / 1000))
        await page.send_bytes(bytes(3_000_000))
        return (await page.receive(20)).type

    assert talk(server, conversation) is aiohttp.WSMsgType.CLOSE
    assert len(server.window._keys) <= 2 * MAX_KEYS_PER_SECOND
    shots = server.camera.take()
    assert 0 < len(shots) <= KEPT_SHOTS
    assert server.camera.num_delivered <= 2 * MOST_PER_SECOND


def test_only_pictures_of_a_bearable_size_are_decoded():
    sizes = {side: decode(jpeg(np.zeros((side, 16, 3), np.uint8))) for side in (48, MAX_SIDE_PX)}
    assert [sizes[side].shape[0] for side in sizes] == list(sizes)
    assert decode(jpeg(np.zeros((MAX_SIDE_PX + 1, 16, 3), np.uint8))) is None
    assert decode(cv2.imencode(".png", PICTURE)[1].tobytes()) is None


def test_times_are_those_of_the_browser_on_our_clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(browser_camera.time, "monotonic", lambda: now[0])
    camera = BrowserCamera()
    camera.connected()
    for taken, delay in ((5.0, 0.05), (5.1, 0.02), (5.2, 0.3), (5.3, 0.21)):
        now[0] = 995.0 + taken + delay
        camera.deliver(taken, jpeg())
    times = [shot.seconds for shot in camera.take()]
    assert times == pytest.approx([1000.05, 1000.12, 1000.22, 1000.32])
    for number in range(1, 40):  # the browser's clock goes slower
        now[0] += 1
        camera.deliver(5.3 + 0.9 * number, jpeg())
    assert camera.take()[-1].seconds == pytest.approx(now[0], abs=3.1)  # of 3.9 that it lost
    now[0] += 100
    camera.deliver(2.0, jpeg())  # it was set back
    assert camera.take()[-1].seconds == pytest.approx(now[0])


def test_a_device_that_is_turned_is_a_camera_that_was_lost_for_a_moment(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(browser_camera.time, "monotonic", lambda: now[0])
    camera = BrowserCamera()
    camera.connected()
    assert camera.deliver(1.0, jpeg()) and camera.problem is None
    now[0] += 0.1
    assert not camera.deliver(1.1, jpeg(PICTURE.transpose(1, 0, 2).copy()))
    assert "turned" in camera.problem
    now[0] += 0.6
    assert camera.deliver(1.7, jpeg(PICTURE.transpose(1, 0, 2).copy())) and camera.problem is None
    assert [shot.image.shape[0] for shot in camera.take()] == [48, 64]


def test_a_name_that_is_entered_twice_is_no_command():
    taught = []
    teacher = types.SimpleNamespace(check=taught.append, undo=lambda: taught.append("undone"))
    demo = Demo(types.SimpleNamespace(run=None), 5, 32, None, teacher=teacher)
    window = BrowserWindow()
    demo.loaded(0.0)
    window.press("t")
    window.enter("  quiet  ")
    window.enter("quiet")
    window.enter("x" * 500)
    while key := window.key():
        demo.key(key, 1.0)
    assert taught == ["quiet"] and demo.taught == "quiet"
    assert demo.state is State.READY and not demo.wants_quit
    window.enter("x" * 500)
    assert len(window.key()) == 1 + MAX_NAME


def test_names_that_are_no_valid_text_are_shown_all_the_same(server):
    async def conversation(page):
        return (await page.receive(20)).data

    server.window.show(View("odd \udcff name"))
    assert unpacked(talk(server, conversation))[0]["heading"] == "odd ? name"


def test_problems_of_the_camera_are_told(server, monkeypatch):
    async def conversation(page):
        await page.send_str('{"problem": "The browser was not allowed."}')
        await asyncio.to_thread(wait, lambda: "allowed" in (server.camera.problem or ""))

    talk(server, conversation)
    wait(lambda: server.camera.problem == NO_PAGE)
    monkeypatch.setattr(browser_camera, "SILENT_SECONDS", 0.05)

    async def silent(page):
        await asyncio.to_thread(wait, lambda: "shows nothing" in (server.camera.problem or ""))

    talk(server, silent)


def test_the_page_is_told_of_the_end():
    with Server("127.0.0.1", 0) as server:
        server.window.show(View("last"))

        async def conversation(page):
            first = unpacked((await page.receive(20)).data)[0]
            await asyncio.to_thread(server.window.close)  # nothing was said to be shown
            return first, unpacked((await page.receive(20)).data)[0]

        first, last = talk(server, conversation)
    assert not first["isOver"] and last["isOver"]


def test_a_port_that_is_taken_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="--port"), Server("127.0.0.1", taken.getsockname()[1]):
            pass


def test_https_with_a_certificate(tmp_path):
    pem = tmp_path / "signs.pem"
    pem.write_text("no certificate")
    with pytest.raises(OSError, match="openssl"):
        Server("127.0.0.1", 0, pem)
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=signs -keyout k -out c"
    try:
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    pem.write_bytes((tmp_path / "k").read_bytes() + (tmp_path / "c").read_bytes())
    with Server("127.0.0.1", 0, pem) as server:
        assert server.address.startswith("https://")

        async def request():
            async with (
                aiohttp.ClientSession() as session,
                session.get(server.address, ssl=False) as response,
            ):
                return response.status

        assert asyncio.run(request()) == 200


def test_a_server_for_all_networks_answers_to_addresses_but_to_no_foreign_name():
    with Server("0.0.0.0", 0) as server:
        assert "127.0.0.1" in server.address
        assert get(server, Host="192.168.7.7:8000")[0] == 200
        assert get(server, Host="evil.example:8000")[0] == 403


def test_a_view_without_pictures_is_a_message():
    content = message_of(View("HELP", lines=[("q", "quit")], typed="ab"))
    assert content["lines"] == [["q", "quit"]] and content["typed"] == "ab"
    assert json.loads(json.dumps(content)) == content


def test_keys_wait_until_they_are_looked_at():
    window = BrowserWindow()
    assert window.key() is None
    window.press("a")
    window.press("long")
    assert window.key() == "a" and window.key() is None


@pytest.mark.parametrize("script", ["livedemo.py", "videocapture.py"])
def test_what_does_not_go_together_is_told(script, tmp_path):
    clip = tmp_path / "clip.avi"
    result = run_script(script, "--web", "--dataset", "mine", "--camera", clip, cwd=tmp_path)
    assert result.returncode == 2 and "--web" in result.stderr
