"""Weights in files: formats, names, what fits, the download, what is safe to open.

Uses `common/` and `i3d/`.
"""
