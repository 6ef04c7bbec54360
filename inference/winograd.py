"""Large 3x3x3 convolutions by Winograd's minimal filtering along time.

Four outputs of a kernel with three taps take six multiplications in place of twelve: F(4, 3) in
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308. So a 3x3x3
convolution becomes six 1x3x3 ones of a quarter of the frames, with sums before and after. In
float32 its error is two to four times that of the plain convolution, of the largest of six frames.
"""

import math

import numpy as np

TAPS, TILE = 3, 4  # of the kernel, along time; outputs that are made together
# outputs = TO_OUTPUTS @ ((OF_TAPS @ taps) * (OF_INPUTS @ six inputs in a row))
TO_OUTPUTS = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
)
OF_TAPS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
OF_INPUTS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
# What a convolution must have so that the sums before and after do not take what is won.
MIN_GFLOP = 1.0
MAX_SHARE = 0.6  # of its multiplications that is left; the last outputs may be few
TIME = 2  # the axis


def rewrite(model):
    """Replaces the convolutions of an `openvino.Model` that gain by it; returns how many."""
    from openvino import opset13

    found = [node for node in model.get_ordered_ops() if _gains(node)]
    for node in found:
        _replace(node, opset13)
    model.validate_nodes_and_infer_types()
    return len(found)


def _gains(node):
    """Whether a node is a large convolution of three taps a side and stride 1 that gets faster."""
    if node.get_type_name() != "Convolution" or not _is_plain(node):
        return False
    kernel, attributes = node.input_value(1), node.get_attributes()
    shape, out_shape = list(kernel.get_shape()), list(node.get_output_shape(0))
    return (
        shape[2:] == [TAPS] * 3
        and kernel.get_node().get_type_name() == "Constant"
        and {*attributes["strides"], *attributes["dilations"]} == {1}
        and _num_tiles(node) * (TILE + TAPS - 1) <= MAX_SHARE * TAPS * out_shape[TIME]
        and 2e-9 * math.prod(shape[1:]) * math.prod(out_shape) >= MIN_GFLOP
    )


def _is_plain(node):
    """Whether a node has one shape, whatever the input's, and computes in float32."""
    is_float32 = node.get_output_element_type(0).get_type_name() == "f32"
    return is_float32 and node.get_output_partial_shape(0).is_static


def _num_tiles(node):
    return -(-node.get_output_shape(0)[TIME] // TILE)


def _replace(node, ops):
    """Puts sums and convolutions in the place of `node` and of what follows frame by frame.

    What follows is done before the frames are put in order, for then it costs OpenVINO nothing or
    leaves less to be moved.
    """
    products = _products(node, ops)
    last, addition = node, _user(node, "Add")
    if addition and _is_bias(addition.input_value(1)):
        last, bias = addition, addition.input_value(1)
        # First of all where it can become a part of a convolution.
        products[0], products[-1] = ops.add(products[0], bias), ops.add(products[-1], bias)
        fourths = [_weighted_sum(weights, products, ops) for weights in TO_OUTPUTS]
        fourths[1:-1] = [ops.add(fourth, bias) for fourth in fourths[1:-1]]
    else:
        fourths = [_weighted_sum(weights, products, ops) for weights in TO_OUTPUTS]
    while following := _user(last, "Relu") or _user(last, "MaxPool"):
        if following.get_type_name() == "Relu":
            fourths = [ops.relu(fourth) for fourth in fourths]
        elif _is_spatial(following):
            pooling = following.get_attributes()
            size = pooling.pop("kernel")
            fourths = [ops.max_pool(part, kernel_shape=size, **pooling) for part in fourths]
        else:
            break
        last = following
    singles = [
        _slice(fourths[number % TILE], number // TILE, 1, 1, ops)
        for number in range(node.get_output_shape(0)[TIME])
    ]
    ordered = ops.concat(singles, TIME)
    for target in last.output(0).get_target_inputs():
        target.replace_source_output(ordered.output(0))


def _products(node, ops):
    """The six convolutions, each of every fourth frame."""
    taps = node.input_value(1).get_node().data.astype(np.float64)
    before, *edges_before = node.get_attributes()["pads_begin"]
    _, *edges_after = node.get_attributes()["pads_end"]
    num_tiles = _num_tiles(node)
    num_inputs = TILE * num_tiles + TAPS - 1
    after = num_inputs - before - node.get_input_shape(0)[TIME]
    edges = [np.array([0, 0, number, 0, 0]) for number in (before, after)]
    inputs = ops.pad(node.input_value(0), *edges, "constant", np.float32(0))
    inputs = [_slice(inputs, first, num_tiles, TILE, ops) for first in range(TILE + TAPS - 1)]
    products = []
    for of_taps, of_inputs in zip(OF_TAPS, OF_INPUTS, strict=True):
        kernel = np.tensordot(taps, of_taps, (TIME, 0))[:, :, None].astype(np.float32)
        products.append(
            ops.convolution(
                _weighted_sum(of_inputs, inputs, ops),
                ops.constant(kernel),
                [1, 1, 1],
                [0, *edges_before],
                [0, *edges_after],
                [1, 1, 1],
            )
        )
    return products


def _weighted_sum(weights, nodes, ops):
    """Of nodes of one shape, with weights that are whole numbers."""
    total = None
    for weight, node in zip(weights, nodes, strict=True):
        if weight:
            term = node if weight == 1 else ops.multiply(node, np.float32(weight))
            total = term if total is None else ops.add(total, term)
    return total


def _slice(node, first, number, step, ops):
    """Every `step`-th of the frames from `first` on."""
    last = first + (number - 1) * step + 1
    limits = [np.array([value]) for value in (first, last, step, TIME)]
    return ops.slice(node.output(0), *limits)


def _user(node, kind):
    """The only user of a node's output, where it is of this kind; else None."""
    users = [target.get_node() for target in node.output(0).get_target_inputs()]
    return users[0] if len(users) == 1 and users[0].get_type_name() == kind else None


def _is_bias(output):
    """Whether it is one number for each channel."""
    shape = list(output.get_shape())
    is_constant = output.get_node().get_type_name() == "Constant"
    return is_constant and len(shape) == 5 and math.prod(shape) == shape[1]


def _is_spatial(pooling):
    """Whether it looks at one frame at a time, and is of the kind that is made here."""
    attributes = pooling.get_attributes()
    is_known = "dilations" in attributes and attributes["rounding_type"] != "ceil_torch"
    return is_known and attributes["kernel"][0] == attributes["strides"][0] == 1
