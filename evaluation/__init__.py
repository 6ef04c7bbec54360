"""How often a run is right, what it confuses, and runs beside each other.

Uses `training/`, `predict.py` and what they stand on.
"""
