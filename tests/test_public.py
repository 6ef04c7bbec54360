"""The functions that other people's code calls are where they were, with the same arguments."""

import importlib
import inspect

import pytest

SIGNATURES = {
    "frame.sample_indices": "num_available num_wanted",
    "frame.read_clip": "path num_frames height width",
    "tvl1.TVL1": "preset",
    "tvl1.TVL1.calc": "self previous_gray next_gray",
    "tvl1.TVL1.next": "self gray",
    "opticalflow.frames_to_flow": "frames algorithm",
    "opticalflow.FlowStream": "algorithm",
    "opticalflow.FlowStream.next": "self image",
    "opticalflow.flow_to_color": "flow",
    "common.network_input.rgb_input": "frames height width",
    "common.network_input.flow_input": "flow height width",
    "model_i3d.build_i3d": "num_frames height width channels num_classes width_multiplier dropout",
    "i3d_weights.load_weights": "model path",
    "predict.Recognizer": "run_dir engine",
    "predict.Recognizer.predict": "self frames",
    "predict.Recognizer.stream": "self num_frames",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_public_functions_keep_their_names_and_arguments(name):
    module = next(
        part for part in (name.rsplit(".", 1)[0], name.rsplit(".", 2)[0]) if _is_module(part)
    )
    found = importlib.import_module(module)
    for part in name.removeprefix(f"{module}.").split("."):
        found = getattr(found, part)
    wanted = SIGNATURES[name].split()
    assert list(inspect.signature(found).parameters)[: len(wanted)] == wanted


def _is_module(name):
    try:
        return bool(importlib.import_module(name))
    except ModuleNotFoundError:
        return False
