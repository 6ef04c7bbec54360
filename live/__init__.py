"""Camera, window and state of the live demo and of recording clips.

Uses `predict.py` and what it stands on.
"""
