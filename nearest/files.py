"""The known clips of a run on disk.

model/<run>/rgb.npz flow.npz    see `Examples.to_arrays`; those of a network as "signs/<name>", and
                                as "signs/weights" the SHA-256 of what made them
"""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

from common import disk
from nearest.comparison import HOG_HOF, SIGNS
from nearest.examples import Examples

OF_SIGNS = f"{SIGNS}/"  # before the names of what a network made
WEIGHTS = f"{OF_SIGNS}weights"


def save(path, comparison):
    """Writes known clips to a `.npz` file, whole or not at all; the same ones leave it as it is.

    Args:
        path: `Path` of the file.
        comparison: `Comparison`.
    """
    examples = comparison.examples
    arrays = examples[HOG_HOF].to_arrays()
    if SIGNS in examples:
        made = {**examples[SIGNS].to_arrays(), "weights": np.array(comparison.weights)}
        arrays |= {f"{OF_SIGNS}{name}": array for name, array in made.items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    if not path.is_file() or path.read_bytes() != file.getvalue():
        disk.write_atomically(path, file.getvalue())


def digest_of(rows, classes, num_classes):
    """Stands for examples that would be the same: of the same clips, by the same code.

    Args:
        rows, classes, num_classes: as of `comparison.fit`.

    Returns:
        text.
    """
    found = hashlib.sha256(f"{[int(number) for number in classes]} {num_classes}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    for name, array in sorted(rows.items()):
        found.update(f"{name} {array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def load(path, num_classes=None):
    """The known clips of a file.

    Args:
        path: of `save`.
        num_classes: that they must know.

    Returns:
        ({`HOG_HOF` and, where there is one, `SIGNS`: `Examples`}, SHA-256 of the network's weights
        or None).

    Raises:
        ValueError: the file is damaged, or knows another number of signs.
    """
    try:
        with np.load(path) as file:
            arrays = dict(file)
        examples = {HOG_HOF: Examples.from_arrays(arrays, is_alone=WEIGHTS not in arrays)}
        weights = None
        if WEIGHTS in arrays:
            weights = str(arrays[WEIGHTS])
            made = {
                n.removeprefix(OF_SIGNS): a for n, a in arrays.items() if n.startswith(OF_SIGNS)
            }
            examples[SIGNS] = Examples.from_arrays(made, is_alone=False)
    except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no examples of this project: {error!r}") from error
    found = examples[HOG_HOF].num_classes
    if num_classes not in (None, found):
        raise ValueError(
            f"{path} knows {found} signs, but run.json beside it lists {num_classes}. Make it "
            "anew: train_nearest.py."
        )
    return examples, weights
