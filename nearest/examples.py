"""Clips whose signs are known, and how near another clip is to them.

    examples = Examples(rows, classes, num_classes)
    nearest = examples.class_distances(examples.distances(views))

Clips are compared in up to two ways of nearest/kinds.py, whose distances are added. Where little
moves (one person before a fixed camera), looks tell more; where much moves, or people differ,
changes do. Which it is shows in the share of variance within clips.

The nearest example of a sign decides. A clip that is farther from all of them than they are from
each other is none of these signs.
"""

import copy

import numpy as np

from nearest.kinds import KINDS, MIRRORED, Changes, Looks, Whole, unit

STILL, MOVING = 0.06, 0.12  # shares of variance within clips: only looks, only changes count
QUERIES = 100  # examples that are left out in turn to see how far clips are from each other
NEAR = 100  # examples that are compared in all views, the nearest ones in the first
REFIT_CLIPS = 100  # up to so many, rows are kept: each new example changes how all are compared
SAME = 0.01  # of the usual distance between signs: a clip that is nearer is the very same
IMAGE = 0.9  # of the same: a mirrored clip that is nearer to another sign is that sign's own image
LIMIT = 0.9  # in usual distances between signs, from where on a clip is unknown
# The same where signs have several clips, to which their own are nearer, and two ways are asked,
# which must both be stricter, for only what is none to both is unknown; then how gradually that
# comes.
OF_FRAMES, OF_WHOLE = (0.8, 0.05), (0.85, 0.1)
TEMPERATURE = 0.05  # how much nearer a sign must be than another, in usual distances
TEMPERATURES = np.geomspace(0.03, 0.2, 10)  # as they are tried where signs have several clips
MIN_KNOWN = 6  # examples with another one of their sign, before signs count as having several
USUAL, OWN_SHARE = 1.2, 0.75  # distances of two signs, and within one, where there is no other yet
CHUNK = 64  # clips at once, so that memory stays small
STORED = "stored"  # the name in a file of examples as a way of comparing sees them


class Examples:
    """The examples of one stream.

    Args:
        rows: float `(num_clips, num_frames, size)`, of `descriptor.describe` or another extractor.
        classes: int `(num_clips,)`, the sign of each.
        num_classes: number of signs; some may have no example.
        kinds: how they are compared, of `KINDS`: one way, or two between which it is chosen.
        is_alone: nothing else is asked about the same clips.
        like: `Examples` whose way of comparing is taken over, instead of finding out anew.

    Attributes:
        rows: float16, as given; None of more than `REFIT_CLIPS`, whose way of comparing stays.
        share_of_changes: what counts of `Changes`, 0 to 1; the rest is of `Looks`. It is found out
            with the ways of comparing, and 0 where these are taken over or come from a file.
        limit, doubt: see `LIMIT`, `OF_FRAMES`.
        temperature: see `TEMPERATURE`; found out where nothing else is asked.
    """

    def __init__(
        self, rows, classes, num_classes, kinds=(Looks, Changes), is_alone=True, like=None
    ):
        rows = np.asarray(rows, np.float16)
        self.rows = rows if len(rows) <= REFIT_CLIPS else None
        self.classes = np.asarray(classes, int)
        self.num_classes = num_classes
        self.kinds = tuple(kinds)
        self.is_alone = is_alone
        self.limit, self.temperature = LIMIT, TEMPERATURE
        _, self.doubt = self._limits
        self._ways = []
        self._usual = 1.0
        self.share_of_changes = 0.0
        if like is not None and like._ways:
            self.limit, self.doubt, self.temperature = like.limit, like.doubt, like.temperature
            self._usual = like._usual
            self._ways = [way.of(rows) for way in like._ways]
        elif len(rows):
            self._fit(rows)
        self._tell_signs_apart()

    def __len__(self):
        return len(self.classes)

    def with_clip(self, rows, number, num_classes):
        """These examples and one more, of the sign of this number."""
        new = np.asarray(rows, np.float16)[None]
        classes = np.append(self.classes, number)
        if self.is_refitted and len(classes) <= REFIT_CLIPS:
            everything = np.concatenate([self.rows, new]) if len(self) else new
            return Examples(everything, classes, num_classes, self.kinds, self.is_alone)
        return self._with([way.with_clip(new[0]) for way in self._ways], classes, num_classes)

    def without_last(self, num_classes):
        """These examples without the newest one."""
        classes = self.classes[:-1]
        if self.is_refitted:
            return Examples(self.rows[:-1], classes, num_classes, self.kinds, self.is_alone)
        return self._with([way.without_last() for way in self._ways], classes, num_classes)

    @property
    def _limits(self):
        return OF_WHOLE if Whole in self.kinds else OF_FRAMES

    @property
    def is_refitted(self):
        """Whether one clip more or less changes how all are compared."""
        return self.rows is not None

    def _with(self, ways, classes, num_classes):
        """What compares in the same ways, with other examples."""
        other = copy.copy(self)
        other.rows, other._ways = None, ways
        other.classes, other.num_classes = classes, num_classes
        other._tell_signs_apart()
        return other

    def _tell_signs_apart(self):
        self._ways = [way.told_apart(self.classes, IMAGE * self._usual) for way in self._ways]

    def to_arrays(self):
        """Everything, as {name: array}, for a file: rows as they are while these are kept."""
        arrays = {
            "classes": self.classes,
            "num_classes": self.num_classes,
            "kinds": [kind.name for kind in self.kinds],
            "told": [self.limit, self.doubt, self.temperature, self._usual],
        }
        if self.is_refitted:
            arrays["rows"] = self.rows
        for way in self._ways:
            own = {**way.transform.arrays, "factor": way.factor}
            own |= {} if self.is_refitted else {STORED: way.stored}
            arrays |= {f"{way.transform.name}.{key}": value for key, value in own.items()}
        return {name: np.asarray(value) for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays, is_alone):
        """What `to_arrays` gave.

        Args:
            arrays: of `to_arrays`.
            is_alone: as of `Examples`.

        Raises:
            KeyError, TypeError, ValueError: something else.
        """
        if "kinds" in arrays:
            kinds = [KINDS[name] for name in arrays["kinds"]]
        else:  # a file from before there was `Whole`
            kinds = (Changes,) if arrays["only_changes"] else (Looks, Changes)
        like = cls([], [], 0, kinds, is_alone)
        told = map(float, arrays["told"])
        like.limit, like.doubt, like.temperature, like._usual = told
        for kind in KINDS.values():
            own = {key.partition(".")[2]: key for key in arrays if key.startswith(f"{kind.name}.")}
            if own:
                values = {name: arrays[key] for name, key in own.items()}
                stored = values.pop(STORED, None)
                like._ways.append(_Way(kind(values), float(values.pop("factor")), stored))
        known = np.asarray(arrays["classes"], int), int(arrays["num_classes"])
        if "rows" in arrays:
            return cls(arrays["rows"], *known, kinds, is_alone, like)
        if any(way.stored.shape[1] != len(known[0]) for way in like._ways):
            raise ValueError("not as many clips as signs of clips")
        return like._with(like._ways, *known)

    def left_out(self):
        """How far examples that are left out in turn are from the others.

        Returns:
            (float32 `(clips, num_classes)`, their classes), of at most `QUERIES` clips that have
            another one of their sign: distances as of `class_distances`.
        """
        queries, distances = self._among_each_other()
        is_own = self.classes[queries][:, None] == self.classes
        known = np.isfinite(np.where(is_own, distances, np.inf)).any(axis=1)
        nearest = [self.class_distances(row) / self._usual for row in distances[known]]
        nearest = np.stack(nearest) if nearest else np.zeros((0, self.num_classes), np.float32)
        return nearest, self.classes[queries][known]

    def _among_each_other(self):
        """(some of the examples, their distances to all), infinite to themselves."""
        queries = np.arange(len(self))
        if len(queries) > QUERIES:
            queries = np.random.default_rng(0).choice(len(queries), QUERIES, replace=False)
        distances = sum(way.among_each_other(queries) for way in self._ways)
        distances[np.arange(len(queries)), queries] = np.inf
        return queries, distances

    def distances(self, views, without_same=False):
        """How far each example is from a clip, in usual distances between signs.

        Args:
            views: float `(num_views, num_frames, size)`: rows of one clip, seen in several ways;
                the first one is as the examples are. Of several, the last one is mirrored.
            without_same: the clip is one of the examples, which is left out.

        Returns:
            float32 `(num_clips,)`, infinite for an example that is left out.
        """
        if not self._ways:
            return np.zeros(0, np.float32)
        views = np.asarray(views)
        # As it is, it is rounded as the examples are: the very same clip is at no distance.
        found = self._compare(views[:1].astype(np.float16).astype(np.float32))[0]
        near = np.argsort(found)[:NEAR]
        if len(views) > 1:
            others = self._compare(views[1:].astype(np.float32, copy=False), near)
            others[-1] *= MIRRORED
            found[near] = np.minimum(found[near], others.min(axis=0))
        found /= np.float32(self._usual)
        if without_same:
            found[found < SAME] = np.inf
        return found

    def unknown_at(self, nearest):
        """The probability of none of the signs, `(clips,)`, by their distances `(clips, signs)`."""
        beyond = (nearest.min(axis=1) - self.limit) / self.doubt
        return 1 / (1 + np.exp(np.clip(-beyond, -50, 50)))

    def class_distances(self, distances):
        """The nearest example of each sign: float32 `(num_classes,)`, infinite where none is."""
        nearest = np.full(self.num_classes, np.inf, np.float32)
        np.minimum.at(nearest, self.classes, distances)
        return nearest

    def _compare(self, views, chosen=slice(None)):
        """`(views, chosen clips)`."""
        return sum(way.distances(views, chosen) for way in self._ways)

    def _fit(self, rows):
        """Finds out how to compare, from the examples themselves."""
        if len(self.kinds) == 2:
            self.share_of_changes = _share_of_changes(rows)
        moving = self.share_of_changes
        for share, kind in zip((1 - moving, moving), self.kinds, strict=False):
            if share:
                self._ways.append(_Way(kind.fit(rows, self.classes), share).of(rows))
        for way in self._ways:  # it counts as much as its share, however large its distances are
            between = way.among_each_other(np.arange(len(rows))[:QUERIES])
            between = between[between > SAME]  # not of clips from themselves, nor of their copies
            way.factor /= np.median(between) if len(between) else USUAL
        queries, distances = self._among_each_other()
        self._calibrate(self.classes[queries], distances)

    def _calibrate(self, classes, distances):
        """The usual distance, and the temperature that fits best what leaving out clips gives."""
        is_own = classes[:, None] == self.classes
        own = np.where(is_own, distances, np.inf).min(axis=1)
        others = np.where(is_own, np.inf, distances).min(axis=1)
        different, alike = (near[np.isfinite(near) & (near > SAME)] for near in (others, own))
        if len(different):
            self._usual = float(np.median(different))
        elif len(alike):
            self._usual = float(np.median(alike)) / OWN_SHARE
        known = np.isfinite(own) & np.isfinite(others)
        if known.sum() < MIN_KNOWN:
            return
        if not self.is_alone:
            self.limit, _ = self._limits
            return
        nearest = np.stack([self.class_distances(row) for row in distances[known]]) / self._usual
        own_place = np.arange(len(nearest)), classes[known]
        self.temperature = min(
            TEMPERATURES, key=lambda value: _surprise(shares(nearest, value)[own_place])
        )


class _Way:
    """One way of comparing, the examples as it sees them, and what its distances count.

    Attributes:
        stored: float32 `(num_frames, num_clips, directions)`, all that is known of the examples.
        compared: the same shape, see `told_apart` of nearest/kinds.py.
    """

    def __init__(self, transform, factor=1.0, stored=None, compared=None):
        self.transform, self.factor = transform, factor
        self.stored = stored
        self.compared = stored if compared is None else compared

    def of(self, rows):
        """The same way with other examples."""
        chunks = [rows[first : first + CHUNK] for first in range(0, len(rows), CHUNK)]
        seen = np.concatenate([self.transform(np.float32(chunk)) for chunk in chunks])
        return self.with_stored(np.ascontiguousarray(seen.transpose(1, 0, 2)))

    def with_clip(self, rows):
        """The same way with one example more."""
        return self.with_stored(np.concatenate([self.stored, self.of(rows[None]).stored], axis=1))

    def without_last(self):
        """The same way without the newest example."""
        return self.with_stored(np.ascontiguousarray(self.stored[:, :-1]))

    def with_stored(self, stored):
        return _Way(self.transform, self.factor, stored)

    def told_apart(self, classes, near):
        """The same way, in which no example speaks for a sign that is another one's image."""
        compared = self.transform.told_apart(self.stored, classes, near / self.factor)
        return _Way(self.transform, self.factor, self.stored, compared)

    def distances(self, views, chosen=slice(None)):
        """Float32 `(views, chosen clips)`, of float32 `(views, num_frames, size)`."""
        return self._distances(self.transform(views), self.compared[:, chosen])

    def among_each_other(self, queries):
        """Float32 `(queries, clips)`, of examples by their numbers."""
        return self._distances(self.stored[:, queries].transpose(1, 0, 2), self.compared)

    def _distances(self, seen, compared):
        compared = np.ascontiguousarray(compared)
        found = [self.transform.compare(np.ascontiguousarray(rows), compared) for rows in seen]
        return np.float32(self.factor) * np.stack(found)


def _share_of_changes(rows):
    """See `Examples.share_of_changes`."""
    rows = unit(rows[:: max(1, len(rows) // CHUNK)].astype(np.float32))
    within = ((rows - rows.mean(axis=1, keepdims=True)) ** 2).sum(axis=-1).mean()
    total = ((rows - rows.mean(axis=(0, 1))) ** 2).sum(axis=-1).mean()
    share = within / max(total, 1e-12)
    return float(np.clip((share - STILL) / (MOVING - STILL), 0, 1))


def shares(nearest, temperature):
    """Probabilities of the signs if it is one of them: float `(clips, signs)`."""
    first = nearest.min(axis=1, keepdims=True)
    weights = np.exp(-(nearest - np.where(np.isfinite(first), first, 0)) / temperature)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)


def _surprise(probabilities):
    return -np.log(np.maximum(probabilities, 1e-6)).mean()
