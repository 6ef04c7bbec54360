"""How a training begins: the run that is asked for, and whether it fits what its folder holds."""

import hashlib
import shutil
from pathlib import Path

from common import dataset as data
from common import disk, run_folder
from common.keras_import import import_keras


def stored_clips(dataset, stream):
    """The stored clips of a stream, after checking that they are whole and what the preset wants.

    Raises:
        FileNotFoundError: there are none, or some frames have no flow.
        ValueError: they were made with other parameters.
    """
    clips = dataset.stored_clips(stream)
    disk.claim(dataset.frame_dir, dataset.frame_parameters(), f"python frame.py {dataset.flags()}")
    have = {clip.place() for clip in clips}
    missing = [c.place() for c in dataset.stored_clips("rgb") if c.place() not in have]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} clips have no flow, such as {missing[0]}. Run `python "
            f"opticalflow.py {dataset.flags()}` first."
        )
    return clips


def new_run(folder, dataset, architecture_name, clips, options, further_options):
    """The `Run` that these arguments ask for, not written yet.

    Args:
        folder: of the run.
        dataset: `dataset.Dataset`.
        architecture_name: as in run.json.
        clips: list of `dataset.Clip` of all splits.
        options: `TrainingOptions`.
        further_options: dict of what else run.json tells.

    Raises:
        ValueError: there are clips of fewer than two signs.
    """
    train, val = data.split_train_val(clips, options.val_fraction)
    signs = dataset.signs(clip.label for clip in train)
    if len(signs) < 2:
        raise ValueError(f"A network needs at least 2 signs to tell apart. Found: {len(signs)}.")
    places = sorted(f"{clip.split}/{clip.label}/{clip.name}" for clip in train + val)
    return run_folder.Run(
        folder=folder,
        architecture=architecture_name,
        dataset=dataset.name,
        preset=dataset.preset,
        signs=signs,
        flow=disk.read_parameters(dataset.flow_dir),
        data={
            "train": len(train),
            "val": len(val),
            "val_fraction": options.val_fraction,
            "fingerprint": hashlib.sha256("\n".join(places).encode()).hexdigest()[:16],
        },
        options={**options.recorded(), **further_options},
        date=run_folder.now(),
        versions=run_folder.versions(),
    )


def refuse_to_delete_weights(folder, weights):
    """Raises ValueError where the weights to begin with lie in the run's own folder.

    Args:
        folder: of the run that is to be deleted.
        weights: as in run.json: a name, a path, or {"of_either_stream": path}.
    """
    source = weights["of_either_stream"] if isinstance(weights, dict) else weights
    if Path(source).resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"--restart would delete {source}, which --weights names. Add --run NAME for the new "
            "run."
        )


def open_run(run, options):
    """Takes over what an earlier training left in the run's folder, or writes run.json.

    Raises:
        ValueError: what is there was trained with other data or settings.
    """
    if not (run.folder / "run.json").is_file():
        return run.write()
    if options.restart:
        for path in run.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
        return run.write()
    there = run_folder.Run.read(run.folder)
    # A run that is older than an option was trained as the option is by itself.
    there.options = {**type(options)().recorded(), **there.options}
    differs = [
        f"{field} was {getattr(there, field)}, is {getattr(run, field)}"
        for field in ("architecture", "dataset", "data", "preset", "flow", "options", "signs")
        if getattr(there, field) != getattr(run, field)
    ]
    if differs:
        raise ValueError(
            f"{run.folder} was trained with other data or settings: {differs[0]}. "
            "To replace it add --restart, to keep it --run NAME."
        )
    run.fusion_weight, run.date = there.fusion_weight, there.date


def refuse_unasked_resume(run, streams, resume):
    """Raises ValueError where one of `streams` has epochs already and `resume` is not set."""
    begun = [stream for stream in streams if run.newest_checkpoint(stream)[0]]
    if begun and not resume:
        raise ValueError(
            f"{run.folder} is unfinished ({' and '.join(begun)}). Go on with it: the same command "
            "with --resume; train it anew: with --restart."
        )


def check_devices(options, preset):
    """Raises ValueError where this machine cannot train as `options.gpus` says."""
    if options.gpus == 1:
        return
    import_keras()
    from training import devices

    devices.check(options, preset.batch_size)


def name_signs_without_val(run, train, val):
    """Prints the signs that have no validation clip, where there are validation clips at all."""
    lacking = [sign.name for sign in run.signs if sign.label not in {clip.label for clip in val}]
    if lacking and val:
        print(f"No validation clip: {', '.join(lacking[:20])}" + " ..." * (len(lacking) > 20))
