"""What is around a toy signer: backgrounds, light and a noisy camera.

Imported by toysigns.py, whose docstring lists all ranges.
"""

import colorsys
import dataclasses
import functools

import cv2
import numpy as np

HEIGHT_PX, WIDTH_PX = 240, 320
FRAMES_PER_SECOND = 10
FOURCC = "XVID"
SUPERSAMPLING = 2  # pictures are drawn at twice their size

BACKGROUNDS = ("plain", "gradient", "shelves", "blocks", "texture")
PATTERN_SHARE = 0.45  # how much of shelves and blocks shows on the wall
NUM_BLOCKS = (8, 18)
BLOCK_PX = (20, 90)
SHELF_PX = (44, 70)  # height
BOOK_PX = (5, 15)  # width
TEXTURE_CELL_PX = (4, 40)
TEXTURE_CONTRAST = (8, 20)  # gray levels

CAMERA_OFFSET_PX = (-5, 5)
CAMERA_SCALE = (0.95, 1.05)
CHEST_PX = (160, 104)  # where the body's origin is, (x, y)
NOISE_STD = (1.5, 3.5)  # gray levels
BRIGHTNESS = (-18, 14)  # gray levels
GAIN = (0.85, 1.1)
SLOW_LIGHT = (0.0, 0.07)  # share of the gain
SLOW_LIGHT_HZ = (0.05, 0.3)
FLICKER = (0.0, 0.01)  # share of the gain, from frame to frame

WALL_DEPTH = (30, 60)  # gray levels, top and bottom

FRACTION_BITS = 4  # of OpenCV's sub-pixel coordinates
FIXED_POINT = 1 << FRACTION_BITS
HALF_CIRCLE = np.array(
    [(np.cos(turn), np.sin(turn)) for turn in np.radians(np.arange(-90, 91, 20))]
)

NOISE_BANK_STD = 32.0  # gray levels, of pictures that are scaled down when they are added
NOISE_BANK_SIZE = 8
NOISE_MARGIN_PX = 16


class Canvas:
    """Draws anti-aliased shapes that are given in body coordinates.

    Args:
        image: uint8 `(height, width, 3)` or `(height, width)`, drawn on in place.
        origin: (x, y) of the body's origin, in pixels of the image.
        scale: pixels of the image per pixel of the body.
        angle: degrees by which everything is turned.
    """

    def __init__(self, image, origin, scale, angle=0.0):
        self.image, self.scale, self.angle = image, scale, angle
        turn = np.radians(angle)
        cosine, sine = scale * np.cos(turn), scale * np.sin(turn)
        self.matrix = FIXED_POINT * np.array([[cosine, sine], [-sine, cosine]])
        # OpenCV's coordinates are those of pixel centres.
        self.offset = FIXED_POINT * (np.asarray(origin, float) - 0.5)

    def turned(self, degrees, about):
        """The same canvas, turned about a point of the body."""
        turned = Canvas(self.image, (0, 0), self.scale, self.angle + degrees)
        turned.offset = self.offset + about @ (self.matrix - turned.matrix)
        return turned

    def polygon(self, points, colour):
        """A filled polygon, `(num_points, 2)`."""
        cv2.fillPoly(self.image, [self._fixed(points)], colour, cv2.LINE_AA, FRACTION_BITS)

    def limb(self, start, end, start_radius, end_radius, colour):
        """A tapered limb with round ends."""
        along = np.subtract(end, start)
        along = along / max(np.hypot(*along), 1e-6)
        turn = np.array([along, (-along[1], along[0])])
        outline = np.concatenate(
            [end + end_radius * HALF_CIRCLE @ turn, start - start_radius * HALF_CIRCLE @ turn]
        )
        fixed = self._fixed(outline)
        cv2.fillConvexPoly(self.image, fixed, colour, cv2.LINE_AA, FRACTION_BITS)

    def disc(self, centre, radius, colour):
        centre, radius = self._fixed(centre).tolist(), round(radius * self.scale * FIXED_POINT)
        cv2.circle(self.image, centre, radius, colour, -1, cv2.LINE_AA, FRACTION_BITS)

    def ellipse(self, centre, axes, colour, start=0, end=360, width=None):
        """A filled ellipse or a part of it from `start` to `end` degrees, or its line."""
        where = (
            self._fixed(centre).tolist(),
            [round(axis * self.scale * FIXED_POINT) for axis in axes],
            self.angle,
            start,
            end,
        )
        thickness = -1 if width is None else self._thickness(width)
        cv2.ellipse(self.image, *where, colour, thickness, cv2.LINE_AA, FRACTION_BITS)

    def lines(self, lines, width, colour):
        """Lines with round ends, `(num_lines, num_points, 2)`."""
        fixed = list(self._fixed(lines))
        width = self._thickness(width)
        cv2.polylines(self.image, fixed, False, colour, width, cv2.LINE_AA, FRACTION_BITS)

    def _fixed(self, points):
        return (np.asarray(points) @ self.matrix + self.offset).astype(np.int32)

    def _thickness(self, width):
        return max(1, round(width * self.scale))


@dataclasses.dataclass(frozen=True)
class Camera:
    """One clip's camera: where it stands, and what its pictures suffer from."""

    origin: tuple[float, float]
    scale: float
    noise_std: float
    brightness: float
    gains: tuple[float, ...]
    noise_places: tuple[tuple[int, int, int], ...]

    def develop(self, picture, frame):
        """A picture as this camera takes it: light of that frame, and noise.

        Args:
            picture: uint8 BGR `(HEIGHT_PX, WIDTH_PX, 3)`.
            frame: index.

        Returns:
            uint8 of the same shape.
        """
        number, top, left = self.noise_places[frame]
        noise = noise_bank()[number, top : top + HEIGHT_PX, left : left + WIDTH_PX]
        share = self.noise_std / NOISE_BANK_STD
        return cv2.addWeighted(
            picture, self.gains[frame], noise, share, self.brightness - 128 * share
        )


def place_camera(num_frames, rng):
    """A `Camera` for a clip of `num_frames`, made with `rng`, a `random.Random`."""
    phase, speed_hz = rng.random(), rng.uniform(*SLOW_LIGHT_HZ)
    slow, flicker = rng.uniform(*SLOW_LIGHT), rng.uniform(*FLICKER)
    gain = rng.uniform(*GAIN)
    waves = np.sin(
        2 * np.pi * (phase + speed_hz * np.arange(num_frames) / FRAMES_PER_SECOND)
    ).tolist()
    gains = [gain * (1 + slow * wave + flicker * rng.uniform(-1, 1)) for wave in waves]
    places = [
        (rng.randrange(NOISE_BANK_SIZE), *(rng.randrange(NOISE_MARGIN_PX) for _ in "xy"))
        for _ in range(num_frames)
    ]
    offset = (rng.uniform(*CAMERA_OFFSET_PX), rng.uniform(*CAMERA_OFFSET_PX))
    return Camera(
        origin=(CHEST_PX[0] + offset[0], CHEST_PX[1] + offset[1]),
        scale=rng.uniform(*CAMERA_SCALE),
        noise_std=rng.uniform(*NOISE_STD),
        brightness=rng.uniform(*BRIGHTNESS),
        gains=tuple(gains),
        noise_places=tuple(places),
    )


def random_colour(rng, saturation, value):
    """A BGR colour of any hue."""
    red, green, blue = colorsys.hsv_to_rgb(
        rng.random(), rng.uniform(*saturation), rng.uniform(*value)
    )
    return tuple(round(255 * channel) for channel in (blue, green, red))


def write_video(path, frames):
    """Writes uint8 BGR `(num_frames, height, width, 3)` or gray `(num_frames, height, width)`."""
    is_colour = frames.ndim == 4
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(
        str(path),
        cv2.CAP_FFMPEG,
        cv2.VideoWriter_fourcc(*FOURCC),
        FRAMES_PER_SECOND,
        (width, height),
        [cv2.VIDEOWRITER_PROP_IS_COLOR, int(is_colour)],
    )
    if not writer.isOpened():
        raise OSError(f"This OpenCV cannot write {FOURCC} videos")
    for frame in frames:
        writer.write(frame)
    writer.release()


def depth_wall():
    """The wall as a depth camera sees it, uint8 `(HEIGHT_PX, 1)`."""
    return np.linspace(*WALL_DEPTH, HEIGHT_PX).astype(np.uint8)[:, None]


@functools.cache
def noise_bank():
    """uint8 `(NOISE_BANK_SIZE, height, width, 3)` around 128, a little larger than a picture."""
    generator = np.random.default_rng(0)
    shape = (HEIGHT_PX + NOISE_MARGIN_PX, WIDTH_PX + NOISE_MARGIN_PX, 3)
    noise = generator.standard_normal((NOISE_BANK_SIZE, *shape), dtype=np.float32)
    return np.clip(np.rint(128 + NOISE_BANK_STD * noise), 0, 255).astype(np.uint8)


def paint_background(rng):
    """A wall, uint8 BGR, `SUPERSAMPLING` times as large as a picture."""
    wall = random_colour(rng, saturation=(0.05, 0.45), value=(0.45, 0.95))
    image = np.empty((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    image[:] = wall
    paint = {"gradient": _gradient, "shelves": _shelves, "blocks": _blocks, "texture": _texture}
    kind = rng.choice(BACKGROUNDS)
    if kind in paint:
        pattern = paint[kind](image.copy(), rng)
        image = cv2.addWeighted(image, 1 - PATTERN_SHARE, pattern, PATTERN_SHARE, 0)
    size = (WIDTH_PX * SUPERSAMPLING, HEIGHT_PX * SUPERSAMPLING)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _gradient(image, rng):
    other = random_colour(rng, saturation=(0.05, 0.5), value=(0.25, 0.95))
    corners = np.array([[image[0, 0], other], [image[0, 0], other]], np.uint8)
    if rng.random() < 0.5:
        corners = corners.transpose(1, 0, 2)
    # The corners are the centres of the first and last quarter; between them it is linear.
    return cv2.resize(corners, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)


def _shelves(image, rng):
    board = random_colour(rng, saturation=(0.2, 0.6), value=(0.2, 0.6))
    shelf = rng.randint(*SHELF_PX)
    for bottom in range(rng.randint(20, shelf), HEIGHT_PX + shelf, shelf):
        left = 0
        while left < WIDTH_PX:
            right = left + rng.randint(*BOOK_PX)
            if rng.random() < 0.8:
                top = bottom - round(shelf * rng.uniform(0.5, 0.85))
                book = random_colour(rng, saturation=(0.1, 0.6), value=(0.25, 0.8))
                cv2.rectangle(image, (left, top), (right - 1, bottom), book, -1)
            left = right + 1
        cv2.rectangle(image, (0, bottom), (WIDTH_PX, bottom + 4), board, -1)
    return image


def _blocks(image, rng):
    for _ in range(rng.randint(*NUM_BLOCKS)):
        left, top = rng.randrange(-20, WIDTH_PX), rng.randrange(-20, HEIGHT_PX)
        corner = (left + rng.randint(*BLOCK_PX), top + rng.randint(*BLOCK_PX))
        colour = random_colour(rng, saturation=(0.05, 0.6), value=(0.25, 0.95))
        cv2.rectangle(image, (left, top), corner, colour, -1)
    return image


def _texture(image, rng):
    cell = rng.randint(*TEXTURE_CELL_PX)
    shape = (HEIGHT_PX // cell + 2, WIDTH_PX // cell + 2)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(shape, dtype=np.float32)
    noise = cv2.resize(noise, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    contrast = rng.uniform(*TEXTURE_CONTRAST)
    return np.clip(image + contrast * noise[:, :, None], 0, 255).astype(np.uint8)
