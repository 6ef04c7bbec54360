"""TV-L1 optical flow on the CPU: the solver alone, no files, no command line.

    from tvl1 import TVL1
    flow = TVL1().calc(previous_gray, next_gray)  # float32 (height, width, 2), pixels

Uses nothing of the project.
"""

from tvl1.solver import PRESETS, TVL1

__all__ = ["PRESETS", "TVL1"]
