"""I3D's layers: names and shapes of their weights, and those that train fast on a CPU.

Uses nothing of the project.
"""
