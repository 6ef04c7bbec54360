"""Knowing a sign from single clips: descriptors of frames, warping of time, nearest examples.

Uses `common/` and `tvl1/` (whose way of compiling it shares), and no Keras.
"""
