"""Measurements of the project against what people would use instead; each prints a table.

python -m benchmarks.flow
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"  # real clips and reference material, where they are there


def real_clips():
    """Paths of the videos of real signing, sorted; [] where they are not there."""
    return sorted((SHARED / "data" / "ksl").glob("*/*.mp4"))
