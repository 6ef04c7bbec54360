"""A training from its options to its last epoch, and what all pipelines share.

Uses the stages, feeding, models and what they stand on.
"""
