"""Learning what signing looks like from drawn people: their clips, what is learned, how it is
judged. Uses `toy/`, `feeding/`, `model_i3d.py` and lower rooms."""
