"""What computes a trained network: engines, conversion, clips that arrive frame by frame.

Uses the models, weights and what they stand on.
"""
