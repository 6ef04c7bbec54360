"""Clips on their way to a network that is trained: how they are varied. Uses `common/`."""
