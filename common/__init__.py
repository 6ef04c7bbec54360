"""What every other room stands on: presets, folders, videos, jobs, what a network sees.

Uses only itself.
"""
