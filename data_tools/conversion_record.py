"""Conversion record: what became of one recording, a JSON file each, written when it is finished."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_tools.alignment import Cut, Reason
from data_tools.quality import HeadingTest, ImageTest, Quality, YawConvention
from data_tools.whole_file import write_text

_SUFFIX = ".record.json"


@dataclass(frozen=True, kw_only=True)
class ConversionRecord:
    """What was written of a recording, what was cut, and what was measured."""

    name: str
    place: str
    trajectories: tuple[str, ...]
    quality: Quality
    cuts: tuple[Cut, ...]
    faults: tuple[str, ...]
    """What the source could not give: unreadable images, messages, parts."""

    @property
    def num_frames(self) -> int:
        """Frames in its trajectories."""
        return self.quality.num_frames - sum(
            cut.num_frames for cut in self.cuts if cut.reason is Reason.short
        )


def write_record(record: ConversionRecord, folder: Path) -> None:
    """Write a record, whole or not at all."""
    content = _plain(asdict(record))
    write_text(folder / f"{record.name}{_SUFFIX}", json.dumps(content, indent=1, allow_nan=False))


def read_record(folder: Path, name: str) -> ConversionRecord | None:
    """Return the record of a recording; None if it is not finished."""
    path = folder / f"{name}{_SUFFIX}"
    return _read(path) if path.exists() else None


def read_records(folder: Path) -> tuple[ConversionRecord, ...]:
    """Return all records of a folder, by name."""
    return tuple(_read(path) for path in sorted(folder.glob(f"*{_SUFFIX}")))


def _read(path: Path) -> ConversionRecord:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        quality = content["quality"]
        heading, images = quality.pop("heading"), quality.pop("images")
        numbers = {name: _number(value) for name, value in quality.items()}
        if heading is not None:
            heading = HeadingTest(**{**heading, "best": YawConvention[heading["best"]]})
        if images is not None:
            images = ImageTest(**images)
        return ConversionRecord(
            name=content["name"],
            place=content["place"],
            trajectories=tuple(content["trajectories"]),
            quality=Quality(**numbers, heading=heading, images=images),
            cuts=tuple(
                Cut(Reason[cut["reason"]], _number(cut["start_s"]), _number(cut["end_s"]), cut["num_frames"])
                for cut in content["cuts"]
            ),
            faults=tuple(content["faults"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of a conversion ({type(error).__name__}: {error}); remove it, and the "
            "recording is converted again"
        ) from error


def _plain(value: Any) -> Any:
    """Return containers that JSON can hold: enums by name, NaN and infinities as text."""
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case Reason() | YawConvention():
            return value.name
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value
