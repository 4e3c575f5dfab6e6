"""Convert recordings to trajectories: `python -m data_tools.convert source=bags data=FOLDER out=FOLDER`.

Frames are chosen at an even period and given a pose each; where a recording cannot be trusted it is cut. It
ends in `quality.html`: what was cut and why, whether headings agree with the motion and images with the
turns, maps and pictures. It can be stopped at any moment; the same command goes on from where it was.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hydra
import numpy as np
from omegaconf import MISSING, DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from data_tools import config as configuration
from data_tools.alignment import AlignmentConfig, align, stretches, without_bad_images
from data_tools.conversion_record import ConversionRecord, read_record, read_records, write_record
from data_tools.frames import FrameFiles
from data_tools.image_writing import ImageConfig, write_images
from data_tools.provenance import current_commit, installed_versions
from data_tools.quality import measure
from data_tools.quality_report import write_quality_report
from data_tools.recording import Recording
from data_tools.sources import SourceConfig, open_source
from data_tools.trajectory import Skipped, Trajectory, write_trajectory
from data_tools.whole_file import write_text

STATE = ".conversion"
"""Folder in `out` with a record for each finished recording."""


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(SourceConfig):
    """What is converted, and how; with other settings it goes to another folder."""

    out: str = MISSING
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
    num_shown: int = 40
    """Recordings that the report shows with map and pictures, those with findings first."""


@dataclass(frozen=True)
class Conversion:
    """What a run has made: a record for each recording, and what could not be opened."""

    records: tuple[ConversionRecord, ...]
    skipped: tuple[Skipped, ...]
    num_found_done: int
    """Recordings that an earlier run had finished."""


def convert(config: ConvertConfig, progress: Progress | None = None) -> Conversion:
    """Convert what is not converted yet, and write the report.

    ValueError if `out` holds something else, or was converted with other settings.
    """
    out = Path(config.out)
    _claim(out, config)
    skipped: list[Skipped] = []
    num_done = 0
    bar = None if progress is None else progress.add_task("recordings", total=None)
    for item in _unique(open_source(config)):
        if isinstance(item, Skipped):
            skipped.append(item)
        elif read_record(out / STATE, item.name) is None:
            record = convert_recording(item, out, config, progress)
            if isinstance(record, Skipped):
                skipped.append(record)
            else:
                write_record(record, out / STATE)
        else:
            num_done += 1
        if progress is not None and bar is not None:
            progress.advance(bar)
    conversion = Conversion(read_records(out / STATE), tuple(skipped), num_done)
    write_quality_report(conversion.records, conversion.skipped, out, num_shown=config.num_shown)
    return conversion


def convert_recording(
    recording: Recording, out: Path, config: ConvertConfig, progress: Progress | None = None
) -> ConversionRecord | Skipped:
    """Write the trajectories of one recording, and return what became of it; Skipped if nothing can."""
    for left in out.glob(f"{_escaped(recording.name)}_[0-9][0-9][0-9]"):
        shutil.rmtree(left)  # of a run that was stopped: the record, written last, is not there
    alignment = config.alignment
    aligned = align(recording, alignment)
    if reason := _too_slow(recording, alignment):
        return Skipped(Path(recording.name), reason)
    scratch = out / STATE / f"{recording.name}.images"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    task = None
    if progress is not None:
        task = progress.add_task(recording.name, total=len(aligned.indices))
    try:
        written = write_images(
            recording.images,
            aligned.indices,
            scratch,
            config.images,
            on_image=None if progress is None or task is None else lambda: progress.advance(task),
        )
        kept = without_bad_images(aligned, written.is_bad)
        numbers = np.flatnonzero(~written.is_bad)
        parts, short = stretches(kept, alignment)
        names = []
        for part in parts:
            paths = tuple(scratch / f"{number}.jpg" for number in numbers[part].tolist())
            trajectory = Trajectory(
                name=f"{recording.name}_{len(names):03d}",
                place=recording.place,
                frames=FrameFiles(paths),
                poses=None if kept.poses is None else kept.poses[part],
                times_s=kept.times_s[part],
            )
            write_trajectory(trajectory, out)
            names.append(trajectory.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if progress is not None and task is not None:
            progress.remove_task(task)
    return ConversionRecord(
        name=recording.name,
        place=recording.place,
        trajectories=tuple(names),
        quality=measure(recording.image_times_s, kept, recording.track, written.profiles[numbers]),
        cuts=(*kept.cuts, *short),
        faults=(*recording.faults, *written.reasons),
    )


def _too_slow(recording: Recording, alignment: AlignmentConfig) -> str | None:
    """Say that a recording has fewer images than are asked for, which would cut it to nothing."""
    times_s = recording.image_times_s
    intervals_s = np.diff(np.unique(times_s[np.isfinite(times_s)]))
    if alignment.period_s is None or len(intervals_s) == 0:
        return None
    interval_s = float(np.median(intervals_s))
    if interval_s <= 1.5 * alignment.period_s:
        return None
    return (
        f"it has an image every {interval_s:.3g} s, and alignment.period_s={alignment.period_s:g} asks for "
        f"more; set alignment.period_s={interval_s:.3g}, or null to keep every image"
    )


def _unique(items: Iterator[Recording | Skipped]) -> Iterator[Recording | Skipped]:
    """Pass recordings on, but one whose name was there before."""
    seen: set[str] = set()
    for item in items:
        if isinstance(item, Recording) and item.name in seen:
            yield Skipped(Path(item.name), "another recording of this source has the same name; rename one")
            continue
        if isinstance(item, Recording):
            seen.add(item.name)
        yield item


def _escaped(name: str) -> str:
    """Return a pattern that matches a name and nothing else."""
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in name)


def _claim(out: Path, config: ConvertConfig) -> None:
    """Note the settings in `out`; ValueError if it belongs to something else."""
    settings = configuration.to_dict(config)
    for name in ("out", "num_shown"):
        del settings[name]
    path = out / STATE / "settings.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(name for name in settings if known.get(name) != settings[name])
        if differing:
            raise ValueError(
                f"{out} was converted with other settings ({', '.join(differing)}); choose another out, or "
                "remove it"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} holds something that no conversion has made; choose an empty or new folder")
    write_text(path, json.dumps(settings, indent=1))
    about = {"config": settings, "commit": current_commit(), "versions": installed_versions()}
    write_text(out / "config.json", json.dumps(about, indent=1))


configuration.store("convert_schema", ConvertConfig)


@hydra.main(config_path="conf", config_name="convert", version_base=None)
def main(node: DictConfig) -> None:
    """Convert, and say in the end what was made, cut and skipped; exit status 1 if there is nothing."""
    config = configuration.to_object(node, ConvertConfig)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        done = convert(config, progress)
    num_frames = sum(record.quality.num_frames for record in done.records)
    num_trajectories = sum(len(record.trajectories) for record in done.records)
    console.print(
        f"{len(done.records)} recordings ({done.num_found_done} were done before), {num_trajectories} "
        f"trajectories, {num_frames} frames; {len(done.skipped)} skipped",
        markup=False,
    )
    for skipped in done.skipped[:20]:
        console.print(f"skipped {skipped.folder}: {skipped.reason}", markup=False)
    console.print(f"report: {Path(config.out) / 'quality.html'}", markup=False)
    if not num_trajectories:
        sys.exit("nothing was converted; the report and the lines above say why")


if __name__ == "__main__":
    main()
