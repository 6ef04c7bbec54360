"""A trained model's folder: what is in it, and which is the newest. No Keras.

model/<run>/
    rgb.keras flow.keras        the best network of each stream
    rgb.npz flow.npz            in their place: the examples of a run of train_nearest.py
    run.json                    everything that is needed to use them
    history.csv curves.png      loss and accuracy after every epoch
    evaluation.json confusion.png
    checkpoint/                 the last epoch of each stream, to go on from
    openvino/ int8/ export/     the networks for other engines
"""

import dataclasses
import datetime
import importlib.metadata
import json
from pathlib import Path

from common import class_list, disk
from common import dataset as data
from common.command_line import Option, quote
from common.network_input import STREAMS
from common.presets import Preset

ARCHITECTURES = ("i3d", "mobile_lstm", "nearest")
NEAREST = "nearest"  # the architecture that has examples instead of networks
MODEL_OPTION = Option(
    None, "model/<run>, or the name of the run", metavar="RUN", of_default="the newest"
)
MODEL_DIR = Path("model")
UNFINISHED = " (unfinished: the same training goes on with --resume)"


@dataclasses.dataclass
class Run:
    """The content of run.json and the folder that it lies in.

    `signs` is in the order of the networks' outputs; `fusion_weight` is the share of the RGB stream
    in the fused probabilities; `flow` is the parameters.json of the flow folder; `data` tells the
    clips that the model was trained on; `finished` whether all streams had all their epochs.
    """

    folder: Path
    architecture: str
    dataset: str
    preset: Preset
    signs: list
    flow: dict
    data: dict
    options: dict
    fusion_weight: float = 0.5
    date: str = ""
    versions: dict = dataclasses.field(default_factory=dict)
    finished: bool = True  # as runs are that do not tell

    @property
    def labels(self):
        return [sign.label for sign in self.signs]

    @property
    def streams(self):
        """The streams whose network is there."""
        return [stream for stream in STREAMS if self.model_file(stream).is_file()]

    @property
    def title(self):
        """The folder, and that the run is unfinished where it is."""
        return f"{self.folder}{'' if self.finished else UNFINISHED}"

    def model_file(self, stream):
        return self.folder / f"{stream}{'.npz' if self.architecture == NEAREST else '.keras'}"

    def newest_checkpoint(self, stream):
        """(number of finished epochs, path), or (0, None)."""
        paths = sorted((self.folder / "checkpoint").glob(f"{stream}-*.keras"))
        return (int(paths[-1].stem.split("-")[1]), paths[-1]) if paths else (0, None)

    def clips_of(self, stored=False):
        """The `Dataset` that the run is trained on, with the run's preset.

        Args:
            stored: as of `Dataset`.
        """
        root = self.folder.parent.parent
        dataset = data.Dataset(self.dataset, self.preset.name, root, stored=stored)
        dataset.preset = self.preset
        return dataset

    def write(self):
        """Writes run.json."""
        content = dataclasses.asdict(self)
        del content["folder"]
        content["streams"] = self.streams
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        # The name of a folder may be no text: as \udce9, which JSON reads as it was.
        disk.write_atomically(self.folder / "run.json", text.encode(errors="backslashreplace"))

    @classmethod
    def read(cls, folder):
        """Reads `folder`/run.json.

        Raises:
            FileNotFoundError: there is none; the message names the runs that there are.
            ValueError: it is malformed.
        """
        folder = Path(folder)
        path = folder / "run.json"
        if not path.is_file():
            runs = all_runs(folder.parent) or all_runs()
            known = [run.folder.as_posix() for run in runs]
            there = f"There are: {', '.join(known)}." if known else _how_to_train()
            where = folder.absolute()
            raise FileNotFoundError(f"No trained model in {where} (no run.json). {there}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("streams")
            preset = content.pop("preset")
            sizes = {key: tuple(preset[key]) for key in ("frame_size", "input_size")}
            signs = [class_list.Sign(**sign) for sign in content.pop("signs")]
            return cls(folder, preset=Preset(**{**preset, **sizes}), signs=signs, **content)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a run.json of this project: {error!r}") from error


def now():
    """The date for run.json, ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def versions():
    """Versions of the packages that made a model."""
    found = {}
    for package in ("keras", "tensorflow", "numpy", "opencv-contrib-python", "openvino"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def all_runs(model_dir=MODEL_DIR):
    """The readable runs below `model_dir`, oldest first."""
    runs = []
    for path in sorted(Path(model_dir).glob("*/run.json")):
        try:
            runs.append(Run.read(path.parent))
        except ValueError:
            continue
    return sorted(runs, key=lambda run: run.date)


def find(run=None, model_dir=MODEL_DIR):
    """The folder of a run.

    Args:
        run: its folder, or its name below `model_dir`; None: the newest one.
        model_dir: the folder of all runs.

    Raises:
        FileNotFoundError: it is not there; the message names the runs that there are.
    """
    if run is None:
        return newest(model_dir)
    folder = Path(run)
    by_name = Path(model_dir) / folder
    if (folder / "run.json").is_file() or folder.is_dir() or len(folder.parts) > 1:
        return folder
    return by_name


def newest(model_dir=MODEL_DIR):
    """The folder of the newest finished run.

    Raises:
        FileNotFoundError: there is none.
    """
    runs = [run for run in all_runs(model_dir) if run.streams]
    finished = [run for run in runs if run.finished]
    if finished:
        return finished[-1].folder
    if runs:
        name = runs[-1].folder
        raise FileNotFoundError(
            f"No finished model in {model_dir}. {name} is unfinished: go on with its training "
            f"(--resume), or use it as it is: --model {quote(name)}."
        )
    where = Path(model_dir).absolute()
    raise FileNotFoundError(f"No trained model in {where}. {_how_to_train()}")


def _how_to_train():
    return "Train one: `python pipeline_i3d.py --dataset toysigns`."
