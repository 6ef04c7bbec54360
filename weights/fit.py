"""Whether stored I3D weights fit a network, and what differs; weights for the other stream."""

from i3d.shapes import (
    CHANNELS_OF_STREAM,
    OTHER_STREAM,
    STEM_CONVOLUTION,
    STEM_FILTERS,
    STREAM_OF_CHANNELS,
    TOP_CONVOLUTION,
    differences,
)

MAX_LISTED = 10


def fitting_layers(stored, expected, from_other_stream=False):
    """The stored layers that a network wants, all of them.

    Args:
        stored: `files.StoredWeights`; its classification layer is left out where none is
            expected.
        expected: {layer: {weight: shape}}, see `i3d.shapes.weight_shapes`.
        from_other_stream: as in `load_weights`.

    Returns:
        {layer: {weight: float32 array}}.

    Raises:
        ValueError: with what differs.
    """
    layers = dict(stored.layers)
    if TOP_CONVOLUTION not in expected:
        layers.pop(TOP_CONVOLUTION, None)
    channels = expected[STEM_CONVOLUTION]["kernel"][3]
    if from_other_stream and stored.stream == OTHER_STREAM[STREAM_OF_CHANNELS[channels]]:
        layers = change_stream(layers)
    problems = differences(layers, expected)
    if problems:
        reason = _main_difference(stored, layers, expected)
        raise ValueError(f"{stored.paths[0]} does not fit: {reason}{'; '.join(shorten(problems))}.")
    return layers


def change_stream(layers):
    """Weights for the other stream: RGB's for flow, or flow's for RGB.

    The first convolution's kernel is averaged over its input channels and repeated for those of the
    other stream, scaled so that equal channels give the same activations: three channels of 1
    become two of 1.5. All other layers are kept.

    Source: Wang et al., "Temporal Segment Networks" (2016), cross-modality initialisation.
    """
    kernel = layers[STEM_CONVOLUTION]["kernel"]  # (7, 7, 7, channels, filters)
    channels = CHANNELS_OF_STREAM[OTHER_STREAM[STREAM_OF_CHANNELS[kernel.shape[3]]]]
    total = kernel.sum(axis=3, keepdims=True)
    return {**layers, STEM_CONVOLUTION: {"kernel": (total / channels).repeat(channels, axis=3)}}


def shorten(problems):
    """The first `MAX_LISTED` of a list of sentences, and how many more there are."""
    more = len(problems) - MAX_LISTED
    return [*problems[:MAX_LISTED], *([f"and {more} more"] if more > 0 else [])]


def _main_difference(stored, layers, expected):
    """The reason behind many differences, where there is one, as the beginning of a sentence."""
    want = expected[STEM_CONVOLUTION]["kernel"]
    have = layers.get(STEM_CONVOLUTION, {}).get("kernel")
    if have is None or have.ndim != 5 or have.shape[3] not in STREAM_OF_CHANNELS:
        return ""
    if have.shape[3] != want[3]:
        return (
            f"it holds the {stored.stream} stream, and this network is of the "
            f"{STREAM_OF_CHANNELS[want[3]]} stream. `--stream {stored.stream}` trains that one "
            "alone, and `--weights-from-other-stream` takes the weights all the same; "
        )
    if have.shape[4] != want[4]:
        width = want[4] / STEM_FILTERS
        return (
            f"it has width {stored.width_multiplier:g}, and this network has width {width:g}. "
            "Published weights want `--preset full`; `--weights none` starts from random ones; "
        )
    if TOP_CONVOLUTION in expected and TOP_CONVOLUTION not in layers:
        return "it has no classification layer; "
    return ""
