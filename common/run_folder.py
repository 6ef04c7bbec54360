"""A trained model's folder: what is in it, and which is the newest. No Keras.

model/<run>/
    rgb.keras flow.keras        the best network of each stream
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

from common import dataset as data
from common import disk
from common.command_line import Option
from common.presets import Preset

STREAMS = ("rgb", "flow")
ARCHITECTURES = ("i3d", "mobile_lstm")
MODEL_OPTION = Option(None, "model/<run>", metavar="RUN", of_default="the newest")


@dataclasses.dataclass
class Run:
    """The content of run.json and the folder that it lies in.

    `signs` is in the order of the networks' outputs; `fusion_weight` is the share of the RGB stream
    in the fused probabilities; `flow` is the parameters.json of the flow folder; `data` tells the
    clips that the model was trained on.
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

    @property
    def labels(self):
        return [sign.label for sign in self.signs]

    @property
    def streams(self):
        """The streams whose network is there."""
        return [stream for stream in STREAMS if self.model_file(stream).is_file()]

    def model_file(self, stream):
        return self.folder / f"{stream}.keras"

    def newest_checkpoint(self, stream):
        """(number of finished epochs, path), or (0, None)."""
        paths = sorted((self.folder / "checkpoint").glob(f"{stream}-*.keras"))
        return (int(paths[-1].stem.split("-")[1]), paths[-1]) if paths else (0, None)

    def write(self):
        """Writes run.json."""
        content = dataclasses.asdict(self)
        del content["folder"]
        content["streams"] = self.streams
        self.folder.mkdir(parents=True, exist_ok=True)
        disk.write_atomically(
            self.folder / "run.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        )

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
            known = [run.folder.as_posix() for run in all_runs(folder.parent)]
            there = f"There are: {', '.join(known)}." if known else _how_to_train()
            raise FileNotFoundError(f"No trained model in {folder} (no run.json). {there}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content.pop("streams")
            preset = content.pop("preset")
            sizes = {key: tuple(preset[key]) for key in ("frame_size", "input_size")}
            signs = [data.Sign(**sign) for sign in content.pop("signs")]
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


def all_runs(model_dir=Path("model")):
    """The readable runs below `model_dir`, oldest first."""
    runs = []
    for path in sorted(Path(model_dir).glob("*/run.json")):
        try:
            runs.append(Run.read(path.parent))
        except ValueError:
            continue
    return sorted(runs, key=lambda run: run.date)


def newest(model_dir=Path("model")):
    """The folder of the newest run that has a network.

    Raises:
        FileNotFoundError: there is none.
    """
    runs = [run for run in all_runs(model_dir) if run.streams]
    if not runs:
        raise FileNotFoundError(f"No trained model in {model_dir}. {_how_to_train()}")
    return runs[-1].folder


def _how_to_train():
    return "Train one: `python pipeline_i3d.py --dataset toysigns`."
