"""How long a training will take on this machine, from one timed step."""

from common import class_list
from common.keras_import import import_keras
from inference import run_folder
from training.run import run_dir
from training.schedule import phases

NOMINAL_NUM_SIGNS = 20  # of the network whose training step is timed
START_SECONDS, BETWEEN_EPOCHS_SECONDS = 15, 0.7  # of a stream, of a small network


def announce_duration(dataset, architecture, num_clips, options):
    """Says, on a machine without a GPU, how long training will take.

    Args:
        dataset: `Dataset`; its preset holds the schedule.
        architecture: `training.run.Architecture`.
        num_clips: expected number of training clips.
        options: `TrainingOptions`; the step is timed with random weights.
    """
    folder = run_dir(dataset, architecture.name, options.run, options.seed)
    streams = options.streams
    if not options.restart and all((folder / f"{s}.keras").is_file() for s in streams):
        return
    import_keras()
    from training import devices, fitting

    if devices.gpu_names():
        return
    signs = [class_list.Sign(str(number), str(number)) for number in range(NOMINAL_NUM_SIGNS)]
    recorded = {**options.recorded(), "weights": "none"}
    run = run_folder.Run(
        folder, architecture.name, dataset.name, dataset.preset, signs, {}, {}, recorded
    )
    schedule = phases(dataset.preset, num_clips)
    total = sum(phase.epochs for phase in schedule if not architecture.reads_features(phase))
    if not total:
        return
    per_clip = {stream: fitting.seconds_per_clip(run, stream, architecture) for stream in streams}
    around = len(streams) * (START_SECONDS + BETWEEN_EPOCHS_SECONDS * total)
    minutes = (sum(per_clip.values()) * num_clips * total + around) / 60
    parts = " and ".join(
        f"{seconds:.2f} s a clip for {stream}" for stream, seconds in per_clip.items()
    )
    print(
        f"No GPU here: training will take about {_duration(minutes)} ({total} epochs of "
        f"{num_clips} clips, {parts})."
    )
    if dataset.preset.name == "full":
        print("With `--preset laptop` it takes minutes: smaller frames, a narrower network.")


def _duration(minutes):
    if minutes < 1.5:
        return "a minute"
    if minutes < 100:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 6000 else f"{minutes / 1440:.0f} days"
