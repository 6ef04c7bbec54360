"""How a training begins: the run that is asked for, and whether it fits what its folder holds."""

import collections
import dataclasses
import hashlib
import importlib.util
import shutil
from pathlib import Path

from common import dataset as data
from common import disk
from common.command_line import number_of, some_of
from common.slow_imports import check_backend, import_keras
from inference import run_folder
from training.schedule import phases

# Of the preset, which are told as one; its weights are told by the options.
EPOCHS = ("epochs_top", "epochs_all", "epochs_for_clips", "min_clips_all")


@dataclasses.dataclass(frozen=True)
class StoredClips:
    """The clips of each stream, as {stream: list of `dataset.Clip`}, and their `stamps_of`."""

    clips: dict
    stamps: dict


def stored_clips(dataset, streams):
    """The stored clips of each stream, after checking that they are whole and up to date.

    They are to be what the preset wants, and of the videos as they are now.

    Args:
        dataset: `dataset.Dataset`.
        streams: "rgb" and "flow", or one of them.

    Returns:
        `StoredClips`.

    Raises:
        FileNotFoundError: there are none, or some frames have no flow.
        ValueError: they were made with other parameters, or of other videos.
    """
    clips = {stream: dataset.stored_clips(stream) for stream in streams}
    cut = f"python frame.py {dataset.flags()}"
    compute = f"python opticalflow.py {dataset.flags()}"
    disk.claim(dataset.frame_dir, dataset.frame_parameters(), cut)
    with_frames = clips["rgb"] if "rgb" in clips else dataset.stored_clips("rgb")
    if "flow" in clips:
        _refuse_without_flow(with_frames, clips["flow"], compute)
    stamps = stamps_of(dataset, with_frames)
    if not dataset.stored:
        videos = {video.key: video.path for video in dataset.videos()}
        _refuse_outdated(
            [clip.path for clip in with_frames],
            stamps.values(),
            [disk.stamp_of(videos[key]) for key in stamps],
            f"{cut}`, then `{compute}",
        )
    if "flow" in clips:
        flows = [clip.path for clip in clips["flow"]]
        folder = dataset.frame_dir
        sources = [
            stamps.get(clip.key) or disk.stamp_of(folder / clip.place()) for clip in clips["flow"]
        ]
        _refuse_outdated(flows, map(disk.read_stamp, flows), sources, compute)
    return StoredClips(clips, stamps)


def stamps_of(dataset, clips):
    """What the frames of clips were cut from: {`Clip.key`: `disk.read_stamp`}.

    48,000 take two seconds.
    """
    folder = dataset.frame_dir
    return {clip.key: disk.read_stamp(folder / clip.place()) for clip in clips}


def _refuse_without_flow(with_frames, with_flow, command):
    """Raises FileNotFoundError where frames have no flow."""
    have = {clip.key for clip in with_flow}
    missing = [clip.place() for clip in with_frames if clip.key not in have]
    if missing:
        raise FileNotFoundError(
            f"Clips without flow: {len(missing)}, such as {missing[0]}. Run `{command}` first."
        )


def _refuse_outdated(results, stamps, sources, command):
    """Raises ValueError where a result was made from something else than its source is now.

    Args:
        results: paths.
        stamps: what each was made from, or None where that is not known.
        sources: stamps of what its source is now.
        command: that makes them anew.
    """
    outdated = [
        result
        for result, stamp, source in zip(results, stamps, sources, strict=True)
        if stamp not in (None, source)
    ]
    if outdated:
        raise ValueError(
            f"Stored clips of videos that have changed since: {len(outdated)}, such as "
            f"{outdated[0]}. Run `{command}` first."
        )


def new_run(folder, dataset, architecture_name, stored, options, further_options, min_signs=2):
    """The `Run` that these arguments ask for, not written yet.

    Args:
        folder: of the run.
        dataset: `dataset.Dataset`.
        architecture_name: as in run.json.
        stored: `StoredClips` of all splits.
        options: `TrainingOptions`.
        further_options: dict of what else run.json tells.
        min_signs: that there are to be.

    Raises:
        ValueError: there are clips of fewer signs.
    """
    clips = stored.clips[options.streams[0]]
    train, val = split(clips, options.val_fraction)
    signs = dataset.signs(clip.label for clip in train)
    if len(signs) < min_signs:
        words = "A network needs at least 2 signs to tell apart" if min_signs > 1 else "No signs"
        raise ValueError(f"{words}. Found: {len(signs)}.")
    used = sorted(train + val)
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
            "clips_of_signs": _clips_of_signs(used),
            **({"val_clips": sorted(map(_key, val))} if _is_made(clips, val) else {}),
            "fingerprint": _digest(map(_place, used)),
            "videos": digest_of_videos(used, stored.stamps),
        },
        options={**options.recorded(), **further_options},
        date=run_folder.now(),
        versions=run_folder.versions(),
        finished=False,
    )


def digest_of_videos(clips, stamps):
    """Stands for clips and the videos that they were cut from, as far as their sizes tell.

    Args:
        clips: list of `dataset.Clip`.
        stamps: their `stamps_of`, and perhaps others'.

    Returns:
        text, or None where it is not known what they were cut from.
    """
    found = [stamps.get(clip.key) for clip in clips]
    if None in found:
        return None
    sizes = [stamp.get("bytes") for stamp in found]
    return _digest(f"{_place(clip)} {size}" for clip, size in zip(clips, sizes, strict=True))


def _place(clip):
    return f"{clip.split}/{clip.label}/{clip.name}"


def _key(clip):
    """What stands for a clip in run.json, whatever its name is made of."""
    return _digest([_place(clip)])


def _digest(texts):
    content = "\n".join(texts).encode(errors="surrogateescape")
    return hashlib.sha256(content).hexdigest()[:16]


def _clips_of_signs(clips):
    """{label: [number of clips, what stands for them]}."""
    places = collections.defaultdict(list)
    for clip in clips:
        places[clip.label].append(_place(clip))
    return {label: [len(each), _digest(each)] for label, each in sorted(places.items())}


def _is_made(clips, val):
    """Whether validation clips are some of `train`, not a split of the data set itself."""
    return bool(val) and not any(clip.split == "val" for clip in clips)


def split(clips, val_fraction):
    """`dataset.split_train_val`, of validation clips those whose sign is trained."""
    train, val = data.split_train_val(clips, val_fraction)
    labels = {clip.label for clip in train}
    return train, [clip for clip in val if clip.label in labels]


def split_of_run(run, clips):
    """Training and validation clips as a run was trained; clips that are new since are of training.

    Raises:
        ValueError: the run does not tell which clips were kept for validation: some that would be
            judged now were trained on.
    """
    train, val = split(clips, run.data["val_fraction"])
    if not run.data["val"] or not _is_made(clips, val):
        return train, val
    if "val_clips" not in run.data:
        raise ValueError(
            f"{run.folder} was trained when validation clips were chosen otherwise: some of those "
            "that would be judged now were trained on. Train it anew: the same command with "
            "--restart."
        )
    kept = set(run.data["val_clips"])
    everything = sorted(train + val)
    return (
        [clip for clip in everything if _key(clip) not in kept],
        [clip for clip in everything if _key(clip) in kept],
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
    if isinstance(there.options["augment"], bool):  # before there was a strong one
        there.options["augment"] = "weak" if there.options["augment"] else "none"
    if there.options["patience"] is None:  # before it had a number by itself
        there.options["patience"] = run.options["patience"]
    changes = _changes(there, run)
    if changes:
        raise ValueError(
            f"{run.folder} was trained with other data or settings: {'; '.join(changes)}. "
            "To train it anew add --restart, to keep it --run NAME."
        )
    run.fusion_weight, run.date = there.fusion_weight, there.date
    run.finished = there.finished


def _changes(there, run):
    """What differs between a run as it was and as it is asked for, in words."""
    changes = _changes_of_clips(there, run)
    for what in ("preset", "flow", "options"):
        one, other = (_as_dict(getattr(each, what)) for each in (there, run))
        both = one.keys() & other.keys()  # weights_sha256 is told where --top-only is
        changes += [
            f"{key} was {one.get(key)}, is {other.get(key)}"
            for key in sorted({*one, *other} - {*EPOCHS, "weights"})
            if one.get(key) != other.get(key) and (key in both or key != "weights_sha256")
        ]
    before, now = (_num_epochs(each) for each in (there, run))
    changes += [f"epochs were {before}, now {now} are asked for"] * (before != now)
    changes += [
        f"{what} was {getattr(there, what)}, is {getattr(run, what)}"
        for what in ("architecture", "dataset")
        if getattr(there, what) != getattr(run, what)
    ]
    return changes


def _changes_of_clips(there, run):
    old, new = ({sign.label: sign.name for sign in each.signs} for each in (there, run))
    changes = [f"new sign {name}" for label, name in new.items() if label not in old]
    changes += [f"without the sign {name}" for label, name in old.items() if label not in new]
    if not changes and there.signs != run.signs:
        changes.append("the class list names or orders the signs otherwise")
    before, now = (each.data["train"] + each.data["val"] for each in (there, run))
    of_signs = _changes_of_signs(there, run)
    if now != before:
        words = number_of(abs(now - before), "clip")
        changes.append(f"{words} {'added' if now > before else 'fewer'}{of_signs}")
    elif of_signs:
        changes.append(f"other clips, as many as before{of_signs}")
    elif changes and "clips_of_signs" in there.data:
        pass  # the signs that came and went say all
    elif there.data["fingerprint"] != run.data["fingerprint"]:
        changes.append("other clips, as many as before")
    elif _differ(there, run, "videos"):
        changes.append("videos were replaced by others of the same name")
    elif _differ(there, run, "val") or _differ(there, run, "val_clips"):
        changes.append("other clips are kept for validation")
    return changes


def _changes_of_signs(there, run):
    """How the clips of signs that both know have changed, in brackets."""
    old, new = (each.data.get("clips_of_signs", {}) for each in (there, run))
    changes = []
    for sign in run.signs:
        before, now = old.get(sign.label), new.get(sign.label)
        if before and now and before != now:
            more = now[0] - before[0]
            words = f"{abs(more)} {'more' if more > 0 else 'fewer'}" if more else "others"
            changes.append(f"{sign.name}: {words}")
    return f" ({some_of(changes)})" if changes else ""


def _differ(there, run, key):
    """Whether both tell this of their clips, and not the same."""
    one, other = (each.data.get(key) for each in (there, run))
    return None not in (one, other) and one != other


def _num_epochs(run):
    return sum(phase.epochs for phase in phases(run.preset, run.data["train"]))


def _as_dict(value):
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value


def refuse_unasked_resume(run, streams, resume):
    """Raises ValueError where one of `streams` has epochs already and `resume` is not set."""
    begun = [stream for stream in streams if run.newest_checkpoint(stream)[0]]
    if begun and not resume:
        raise ValueError(
            f"{run.folder} is unfinished ({' and '.join(begun)}). Go on with it: the same command "
            "with --resume; train it anew: with --restart."
        )


def check_schedule(preset):
    """Raises ValueError where there is nothing to train."""
    if not preset.epochs_top + preset.epochs_all:
        raise ValueError(
            "No epochs to train: --epochs-top and --epochs-all are both 0. From random weights "
            "there is no first phase."
        )


def check_installed(options, preset):
    """Raises ValueError where this machine cannot train as `options` say."""
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("--tensorboard needs a package more: pip install tensorboard")
    check_backend()
    if options.gpus == 1:
        return
    import_keras()
    from training import devices

    devices.check(options, preset.batch_size)


def name_signs_without_val(run, train, val):
    """Prints the signs that have no validation clip, where there are validation clips at all."""
    lacking = [sign.name for sign in run.signs if sign.label not in {clip.label for clip in val}]
    if lacking and val:
        print(f"No validation clip: {some_of(lacking, 20)}")
