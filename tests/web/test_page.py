"""The page in a real Chromium, whose camera is a drawn clip: the whole story by the keyboard."""

import os
import re
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers import Background, wait
from toy.film import render_clip

pytest.importorskip("aiohttp")
webdriver = pytest.importorskip("selenium.webdriver")
Keys = webdriver.Keys
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here: apt-get install chromium chromium-driver"
)
SIGNER = "web teacher"
SHOWN = os.environ.get("SHOW_DIR")  # where screenshots go, to look at them
WIDE, PHONE = (1280, 800), (390, 844)
CONTRAST_AA = 4.5  # of WCAG 2.1, level AA, for text
# What every visible text has: its words, its colour, the colour behind it.
READ_COLOURS = """
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!/^rgba.* 0\\)$/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
const texts = "h1, #corner, figcaption, p, button, dt, dd, label, #rows span";
return [...document.querySelectorAll(texts)]
  .filter((node) => node.offsetParent && node.textContent.trim() && node.id !== "told")
  .map((node) => [node.textContent, getComputedStyle(node).color, behind(node)]);
"""


def write_camera(path, sign, size=(640, 480), number=0):
    """A file that Chromium takes for its camera, over and over: pictures of a drawn signer."""
    frames, _ = render_clip(sign, SIGNER, f"{sign} {number}")
    large = [cv2.resize(frame, size) for frame in frames for _ in range(2)]
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in large))
    return path


class Program(Background):
    """A script with --web."""

    def __init__(self, folder, script, *arguments):
        super().__init__(folder, script, "--web", "--port", "0", *arguments)
        self.address = wait(lambda: re.search(r"http\S+", self.errors), 60)[0]


class Page:
    """A Chromium with a camera of its own."""

    def __init__(self, address, camera=None, size=WIDE):
        options = webdriver.ChromeOptions()
        flags = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
        if camera:
            flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
            flags += [f"--use-file-for-fake-video-capture={camera}"]
        else:
            flags += ["--use-fake-device-for-media-stream", "--deny-permission-prompts"]
        for flag in flags:
            options.add_argument(flag)
        options.binary_location = CHROMIUM
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(DRIVER)
        self.browser = webdriver.Chrome(options, service)
        self.resize(size)
        self.browser.get(address)

    def resize(self, size):
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def text(self, name):
        return self.browser.execute_script(
            "return document.getElementById(arguments[0]).textContent", name
        )

    def wait_for(self, heading, seconds=90):
        try:
            wait(lambda: heading in self.text("heading"), seconds)
        except AssertionError:
            raise AssertionError(
                f"{heading!r} did not come: {self.text('heading')}, {self.text('message')}"
            ) from None

    def press(self, *keys):
        webdriver.ActionChains(self.browser).send_keys(*keys).perform()

    def show(self, name):
        if SHOWN:
            time.sleep(0.5)
            self.browser.save_screenshot(f"{SHOWN}/web-{name}.png")

    def complaints(self):
        """What the browser logged about the page's own faults."""
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture
def start(tmp_path):
    """Starts programs and pages, and ends them."""
    programs, pages = [], []

    def program(*arguments):
        programs.append(Program(tmp_path, *arguments))
        return programs[-1]

    def page(program, *arguments):
        pages.append(Page(program.address, *arguments))
        return pages[-1]

    yield program, page
    for each in pages:
        each.browser.quit()
    for each in programs:
        each.process.kill()
        each.process.wait()


def contrast(first, second):
    """Of two CSS colours, as WCAG 2.1 defines it."""
    luminances = []
    for colour in (first, second):
        channels = np.array(re.findall(r"[\d.]+", colour)[:3], float) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        luminances.append(linear @ [0.2126, 0.7152, 0.0722])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def check_page(page, name):
    """Text has contrast, nothing is wider than the page, and the browser has no complaint."""
    for size in (PHONE, WIDE):
        page.resize(size)
        time.sleep(0.3)
        page.show(f"{name}-{size[0]}")
        for text, colour, behind in page.browser.execute_script(READ_COLOURS):
            assert contrast(colour, behind) >= CONTRAST_AA, (name, text, colour, behind)
        assert page.browser.execute_script("return document.body.scrollWidth") <= size[0]
    assert page.complaints() == []


def test_a_sign_is_taught_answered_replayed_and_still_known_after_a_reload(start, tmp_path):
    start_program, start_page = start
    camera = write_camera(tmp_path / "camera.mjpeg", "wave")
    program = start_program("livedemo.py", "--dataset", "mine", "--json")
    page = start_page(program, camera)
    page.wait_for("READY: press t")
    wait(lambda: "fps" in page.text("corner") and page.text("corner").split()[-2] != "0")
    check_page(page, "ready")
    page.press("?")
    page.wait_for("HELP")
    check_page(page, "help")
    page.press("x")
    page.wait_for("READY")

    page.press("t")
    page.wait_for("WHICH SIGN")
    page.press(" 안녕 하세요  ")
    check_page(page, "name")
    page.browser.find_element("css selector", "#keys button").click()  # Enter, as on a phone
    page.wait_for("READY: press Space, then show 안녕 하세요")
    page.press(" ")
    page.wait_for("GET READY")
    page.show("countdown")
    page.wait_for("RECORDING")
    time.sleep(1.5)
    check_page(page, "recording")
    page.wait_for("KEEP IT?")
    check_page(page, "review")
    page.press(" ")
    wait(lambda: "Kept as " in program.errors)
    page.wait_for("READY")
    train = tmp_path / "data_set" / "mine" / "train"
    assert [path.as_posix() for path in train.glob("*/*")] == [
        (train / "안녕 하세요" / "0001.avi").as_posix()
    ]

    page.press(Keys.ESCAPE)
    page.wait_for("READY")
    page.press(" ")
    page.wait_for("ANSWER: 안녕 하세요")
    assert "안녕 하세요" in page.text("rows")
    assert "ANSWER: 안녕 하세요" in page.text("told")  # the live region, for screen readers
    check_page(page, "answer")
    page.press("r")
    page.wait_for("REPLAY")
    page.press(Keys.ESCAPE)
    page.wait_for("READY")
    page.press(" ")
    page.wait_for("ANSWER")
    page.press("s")
    wait(lambda: list(tmp_path.glob("recording/*/answer.json")))

    page.browser.refresh()
    page.wait_for("ANSWER")  # a recording and its answer outlive the page
    page.press("c")
    page.wait_for("CONTINUOUS")
    page.press("c")
    page.wait_for("READY")
    page.press("u")
    wait(lambda: "Deleted " in program.errors)
    page.press("q")
    page.wait_for("ENDED")
    assert program.process.wait(20) == 0 and "Traceback" not in program.errors
    assert len(program.output.splitlines()) == 2


def test_tabs_that_close_or_come_second_cameras_that_are_refused_and_a_server_that_ends(
    start, tmp_path
):
    start_program, start_page = start
    camera = write_camera(tmp_path / "camera.mjpeg", "circle", (480, 640))  # a phone held upright
    program = start_program("livedemo.py", "--dataset", "mine")
    page = start_page(program, camera)
    page.wait_for("READY")
    shape = page.browser.execute_script(
        "const c = document.getElementById('camera');return [c.width, c.height]"
    )
    assert shape[1] > 0
    check_page(page, "upright")

    page.browser.switch_to.new_window("tab")
    page.browser.get(program.address)
    page.wait_for("IN USE")
    page.show("in-use")
    first, second = page.browser.window_handles
    page.browser.switch_to.window(second)
    assert not page.browser.execute_script("return document.getElementById('video').srcObject")
    page.browser.close()
    page.browser.switch_to.window(first)
    page.press("t")
    page.wait_for("WHICH SIGN")
    page.press("one", Keys.ENTER)
    page.wait_for("READY: press Space")
    page.press(" ")
    page.wait_for("RECORDING")
    page.browser.quit()  # in the middle of a recording

    time.sleep(1)
    refused = start_page(program)
    refused.wait_for("NO CAMERA")
    wait(lambda: "allowed" in refused.text("lines"))
    refused.show("refused")
    refused.browser.quit()

    time.sleep(0.5)
    page = start_page(program, camera)
    page.wait_for("READY")
    page.press(" ")
    page.wait_for("RECORDING")
    program.process.kill()  # the server, in the middle of a recording
    page.wait_for("NO CONNECTION")
    page.show("no-connection")


def test_clips_are_recorded_in_a_browser(start, tmp_path):
    start_program, start_page = start
    camera = write_camera(tmp_path / "camera.mjpeg", "swipe_up")
    flags = ("--dataset", "mine", "--sign", "up", "--clips", "1", "--seconds", "1")
    program = start_program("videocapture.py", *flags)
    page = start_page(program, camera)
    page.wait_for("READY: up")
    wait(lambda: "Press Space" in page.text("message"))
    page.press(" ")
    page.wait_for("KEEP IT?")
    check_page(page, "capture")
    page.press(" ")
    page.wait_for("ENDED")
    assert program.process.wait(20) == 0
    assert Path(tmp_path, "data_set/mine/train/up/0001.avi").stat().st_size > 10_000
    assert "livedemo.py --dataset mine" in program.output


def test_without_the_whole_address_nothing_is_shown(start, tmp_path):
    start_program, start_page = start
    program = start_program("livedemo.py", "--dataset", "mine")
    page = start_page(program)
    page.browser.get(program.address.partition("?")[0])
    assert "Open the whole address" in page.browser.page_source
