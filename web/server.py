"""Serves one page to one browser, and carries pictures, keys and views between it and a session.

    with Server("127.0.0.1", 8000) as server:
        print(server.address)
        LiveSession(server.camera, recognition, server.window, ...)

Messages of the page: binary, a picture: its time as float64 (little endian, seconds), then a JPEG;
text, JSON: {"key": " "}, {"name": "hello"}, {"problem": "..."}, {"shown": 7}. Messages to the page:
binary: the length of the JSON as uint32, the JSON, the length of the first JPEG as uint32, the
first JPEG, the second one; one at a time, each after the page has shown the one before. The
camera's newest picture is not sent back: the page has it, and is told which part of it to show.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import json
import secrets
import socket
import ssl
import struct
import sys
import threading
from pathlib import Path

from common.command_line import Number, Option
from web.camera import MAX_BYTES, BrowserCamera
from web.window import BrowserWindow, jpeg_of, message_of

PAGE = Path(__file__).parent / "page"
FILES = {"page.js": "text/javascript", "style.css": "text/css"}
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
MAX_MESSAGE_BYTES = MAX_BYTES + 100
MAX_WORDS = 200  # characters of what a page says of its camera
MAX_KEYS_PER_SECOND = 40
LOOK_SECONDS = 0.2  # between two looks at whether the session is over
VIEW_SECONDS = 0.08  # between two views: painting them takes the networks' time
START_SECONDS, STOP_SECONDS, END_SECONDS = 10, 8, 2
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob: data:; "
        "frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
BUSY = "Another tab or browser uses this address already. Close it, and this page goes on."
MISSING = "--web needs aiohttp: pip install -r requirements-web.txt"
PORT = Number(int, lambda value: 0 <= value < 65536, "a port: 0 to 65535, 0 for any that is free")
OPTIONS = {
    "web": Option(False, "in a browser, with its camera, in place of a window"),
    "host": Option("127.0.0.1", "with --web: address to listen on; 0.0.0.0: all networks"),
    "port": Option(8000, "with --web: port to listen on", PORT, metavar="N"),
    "certificate": Option(
        None, "with --web: PEM file with certificate and key, for https", Path, metavar="FILE"
    ),
}


@contextlib.contextmanager
def serving(args, title):
    """A server as the flags of `OPTIONS` ask for it, whose address is printed.

    Args:
        args: parsed flags.
        title: of the page.

    Yields:
        {"camera", "window"} for what else would open its own; {} without --web.
    """
    if not args.web:
        yield {}
        return
    with Server(args.host, args.port, args.certificate, title) as server:
        print(f"Open in a browser: {server.address}", file=sys.stderr, flush=True)
        if server.listens_everywhere:
            words = "From elsewhere, put the name or address of this machine in place of 127.0.0.1."
            print(words, file=sys.stderr, flush=True)
        if args.host not in LOCAL_NAMES and not args.certificate:
            words = "From elsewhere, browsers give a camera to https only: --certificate FILE."
            print(words, file=sys.stderr, flush=True)
        yield {"camera": server.camera, "window": server.window}


class Server:
    """The server, on a thread of its own, while the `with` block lasts.

    Args:
        host: address to listen on.
        port: to listen on; 0: any that is free.
        certificate: None, or the path of a PEM file with a certificate and its key, for https.
        title: of the page.

    Raises:
        OSError: the port is taken, the certificate cannot be read, or aiohttp is not installed.
    """

    def __init__(self, host, port, certificate=None, title="Sign language recognition"):
        self.camera, self.window = BrowserCamera(), BrowserWindow()
        self._host, self._port, self._title = host, port, title
        self._names = {name.lower() for name in (*LOCAL_NAMES, host, socket.gethostname())}
        self._token = secrets.token_urlsafe(16)
        self._tls = _tls(certificate)
        self._socket = self._showing = None  # of the one page, and what shows views there
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="web")
        self._started = threading.Event()
        self._problem = None

    def __enter__(self):
        self._thread.start()
        self._started.wait(START_SECONDS)
        if self._problem:
            raise self._problem
        return self

    def __exit__(self, *_):
        self.window.close()
        with contextlib.suppress(RuntimeError):
            stopping = asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
            with contextlib.suppress(TimeoutError):
                stopping.result(STOP_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)

    @property
    def address(self):
        """What is opened in the browser; it is the key to the session, too."""
        scheme = "https" if self._tls else "http"
        here = {"::": "::1"}.get(self._host, "127.0.0.1")
        host = _in_address(here if self.listens_everywhere else self._host)
        return f"{scheme}://{host}:{self._port}/?token={self._token}"

    @property
    def listens_everywhere(self):
        """Whether it answers at every address of this machine."""
        return self._host in ("0.0.0.0", "::", "")  # noqa: S104

    def _run(self):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._start())
        except ImportError:
            self._problem = OSError(MISSING)
            return
        except OSError as error:
            self._problem = OSError(self._why_not(error))
            return
        finally:
            self._started.set()
        self._loop.run_forever()

    def _why_not(self, error):
        place = f"{self._host}, port {self._port}"
        return f"No page can be served at {place} ({error.strerror}). Choose another: --port N."

    async def _start(self):
        from aiohttp import web

        @web.middleware
        async def guard(request, handler):
            return await self._guard(request, handler)

        app = web.Application(middlewares=[guard])
        app.router.add_get("/", self._page)
        app.router.add_get("/socket", self._talk)
        app.router.add_get("/{name}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self):
        if self._showing:  # the last message is on its way
            await asyncio.wait({self._showing}, timeout=END_SECONDS)
        await self._runner.cleanup()

    async def _guard(self, request, handler):
        """Refuses what another site sends, and who does not know the token."""
        from aiohttp import web

        if not self._is_own_host(request.host):
            raise web.HTTPForbidden(text="This server answers under another name.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise web.HTTPForbidden(text="Pages of other sites may not use this server.")
        is_open = request.match_info.get("name") in FILES
        given = request.query.get("token", "").encode()
        if not is_open and not hmac.compare_digest(given, self._token.encode()):
            raise web.HTTPForbidden(text="Open the whole address that the terminal shows.")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _is_own_host(self, host):
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name.strip("[]").lower() in self._names:
            return True
        if not self.listens_everywhere:
            return False
        # Addresses are no names that somebody else could make point here.
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(name.strip("[]")))
        return name.lower().endswith(".local")

    async def _page(self, request):
        from aiohttp import web

        text = (PAGE / "index.html").read_text(encoding="utf-8").replace("{title}", self._title)
        return web.Response(text=text, content_type="text/html")

    async def _file(self, request):
        from aiohttp import web

        name = request.match_info["name"]
        if name not in FILES:
            raise web.HTTPNotFound
        text = (PAGE / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=FILES[name])

    async def _talk(self, request):
        """The socket of a page, as long as it is open."""
        from aiohttp import web

        connection = web.WebSocketResponse(
            heartbeat=10, max_msg_size=MAX_MESSAGE_BYTES, compress=False
        )
        await connection.prepare(request)
        if self._socket is not None:
            await connection.send_str(BUSY)
            await connection.close()
            return connection
        self._socket = connection
        self.camera.connected()
        page = _Page(connection, self.camera, self.window)
        changed = asyncio.Event()
        self.window.on_change = lambda: self._loop.call_soon_threadsafe(changed.set)
        showing = self._showing = asyncio.create_task(page.show(changed))
        try:
            async for message in connection:
                page.hear(message)
                if showing.done():
                    break
        finally:
            if showing.done() and showing.exception():
                print(f"web: {showing.exception()!r}", file=sys.stderr, flush=True)
            showing.cancel()
            self._socket = self._showing = None
            self.window.on_change = lambda: None
            self.camera.gone()
            await connection.close()
        return connection


class _Page:
    """One page while it is open."""

    def __init__(self, socket, camera, window):
        self._socket, self._camera, self._window = socket, camera, window
        self._shown = asyncio.Event()
        self._key_times = []

    def hear(self, message):
        """Takes a message of the page; what is none is passed over."""
        from aiohttp import WSMsgType

        if message.type is WSMsgType.BINARY and len(message.data) > 8:
            (stamp,) = struct.unpack("<d", message.data[:8])
            self._camera.deliver(stamp, message.data[8:])
        elif message.type is WSMsgType.TEXT:
            with contextlib.suppress(ValueError, RecursionError):
                content = json.loads(message.data)
                if isinstance(content, dict):
                    self._follow(content)

    async def show(self, changed):
        """Sends the newest view whenever there is one, and the page has shown the last."""
        loop = asyncio.get_running_loop()
        last = 0
        while not self._socket.closed:
            number, view = self._window.newest()
            is_over = self._window.is_closed
            if view is not None and (number != last or is_over):
                last = number
                message = await loop.run_in_executor(None, _packed, view, is_over)
                self._shown.clear()
                with contextlib.suppress(ConnectionError):
                    await self._socket.send_bytes(message)
                if is_over:
                    return
                await self._until_shown()
                await asyncio.sleep(VIEW_SECONDS)
            else:
                await changed.wait()
            changed.clear()

    async def _until_shown(self):
        """Waits until the page has shown the last view, or the session is over."""
        while not (self._shown.is_set() or self._window.is_closed):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shown.wait(), LOOK_SECONDS)

    def _follow(self, content):
        if "shown" in content:
            self._shown.set()
        if "problem" in content:
            self._camera.refused(str(content["problem"])[:MAX_WORDS])
        if "key" in content and self._may_press():
            self._window.press(content["key"])
        if "name" in content and self._may_press():
            self._window.enter(content["name"])

    def _may_press(self):
        now = asyncio.get_running_loop().time()
        self._key_times = [each for each in self._key_times if now - each < 1]
        self._key_times.append(now)
        return len(self._key_times) <= MAX_KEYS_PER_SECOND


def _packed(view, is_over):
    text = json.dumps(message_of(view, is_over), ensure_ascii=False).encode(errors="replace")
    first = b"" if view.live_part else jpeg_of(view.camera)
    second = jpeg_of(view.beside)
    lengths = struct.pack("<I", len(text)), struct.pack("<I", len(first))
    return lengths[0] + text + lengths[1] + first + second


def _tls(certificate):
    """What https needs, or None without a certificate."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate)
    except (OSError, ssl.SSLError) as error:
        raise OSError(
            f"{certificate} holds no certificate with its key, as PEM: {error}. For a trial: "
            "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=signs -keyout key.pem "
            "-out cert.pem && cat key.pem cert.pem > signs.pem"
        ) from error
    return context


def _in_address(host):
    return f"[{host}]" if ":" in host else host
