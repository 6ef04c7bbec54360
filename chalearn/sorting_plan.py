"""Which video goes where when listed videos are sorted by sign, and what is not lost on the way.

A plan deletes only what can be had again: prepared videos that a zip has, and the sources of a move
whose bytes are in place.
"""

import collections
import contextlib
import filecmp
from pathlib import Path

from chalearn import label_list
from chalearn.video_source import Member, Refused
from common.dataset import SPLITS
from common.stage import Job

MAX_SHOWN = 10
NO_VIDEO = "-"


class Plan:
    """The jobs that fill one data set.

    Args:
        dataset: `dataset.Dataset` to fill.
        rows: list of `label_list.Row`.
        sources: {split: source of its videos}, see `video_source`.
        kind: "colour" or "depth".
        faults: (label, reason) pairs that fail besides.
    """

    def __init__(self, dataset, rows, sources, kind, faults=()):
        self.dataset = dataset
        self.kind = kind
        self.jobs = []
        by_split, folder = collections.defaultdict(list), dataset.video_dir
        for row in rows:
            listed = getattr(row, kind)
            target = folder / f"{row.split}/{row.label}/{label_list.name_of(listed)}"
            found = sources[row.split].find(listed, row.label)
            by_split[row.split].append(Job(found, target, f"{row.where}: {listed}"))
        for split, jobs in by_split.items():
            if all(map(_is_lost, jobs)):
                reason = f"none of {len(jobs):,} {kind} videos can be had: {jobs[0].source.reason}"
                self._add_failure(f"split {split}, {jobs[0].label}", reason)
            else:
                self.jobs += jobs
        for label, reason in faults:
            self._add_failure(label, reason)

    def check(self, source, rebuild):
        """Says which videos cannot be had, for a person to read before the others are fetched.

        Raises:
            ValueError: the plan can do nothing, or would lose or mix up videos.
        """
        lost = [f"{job.label}: {job.source.reason}" for job in self.jobs if _is_lost(job)]
        if len(lost) == len(self.jobs):
            raise ValueError("no video can be had:\n  " + "\n  ".join(lost[:MAX_SHOWN]))
        folder = self.dataset.video_dir
        unzipped = [job for job in self.jobs if isinstance(job.source, Path) and _is_apart(job)]
        if unzipped and source.resolve() == folder.resolve():
            raise ValueError(
                f"Unzipped videos lie in {folder} itself, where every folder is a sign "
                f"({unzipped[0].source}). Move them and the lists to a folder of their own, and "
                "name it with --source."
            )
        leftovers = self._leftovers()
        only_here = [job.target for job in self.jobs if job.target.exists() and not _is_apart(job)]
        if unzipped:
            only_here += leftovers
        if rebuild and only_here:
            raise ValueError(
                f"--rebuild would delete videos in {folder} that may not be in {source} any more, "
                f"as {only_here[0]}. Delete them yourself if you have them elsewhere."
            )
        if leftovers and not rebuild:
            raise ValueError(
                f"{folder} has {len(leftovers):,} videos of other lists, signs or --val-fraction, "
                f"as {leftovers[0]}. To make it anew, add --rebuild."
            )
        return lost[:MAX_SHOWN]

    def remove_outdated(self, rebuild):
        """Deletes prepared videos that a newer zip has with other bytes; on rebuild, all."""
        if rebuild:
            for path in self._leftovers():
                path.unlink(missing_ok=True)
        for job in self.jobs:
            if job.target.exists() and (rebuild or _is_outdated(job)):
                job.target.unlink(missing_ok=True)

    def mean_bytes(self):
        """Mean size of what comes out of zips; links and moves take no room."""
        sizes = [job.source.num_bytes for job in self.jobs if isinstance(job.source, Member)]
        return sum(sizes) / max(len(self.jobs), 1)

    def delete_moved(self):
        """Deletes the sources of a move once their bytes are in place."""
        for job in self.jobs:
            if not isinstance(job.source, Path) or not job.target.is_file():
                continue
            if job.target.is_symlink() or job.source.resolve() == job.target.resolve():
                continue
            same_file = job.source.samefile(job.target)
            if same_file or filecmp.cmp(job.source, job.target, shallow=False):
                job.source.unlink()
                with contextlib.suppress(OSError):
                    job.source.parent.rmdir()

    def _add_failure(self, label, reason):
        self.jobs.append(Job(Refused(reason), self.dataset.video_dir / NO_VIDEO, label))

    def _leftovers(self):
        """Prepared videos that are no target; those with names of another kind are one's own."""
        targets = {job.target for job in self.jobs}
        found = sorted(self.dataset.video_dir.glob("*/c[0-9]*/[KM]_[0-9]*"))
        return [path for path in found if path.parts[-3] in SPLITS and path not in targets]


def _is_lost(job):
    return isinstance(job.source, Refused) and not job.target.exists()


def _is_apart(job):
    """Whether the video is somewhere else than at its target, too."""
    return not isinstance(job.source, Refused) and job.source != job.target


def _is_outdated(job):
    return (
        isinstance(job.source, Member)
        and job.source.archive.stat().st_mtime_ns > job.target.stat().st_mtime_ns
        and not job.source.is_content_of(job.target)
    )
