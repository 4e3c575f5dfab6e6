"""Training levels: that what is called seen was trained on, and what is called unseen was not."""

from collections.abc import Mapping, Sequence

from worldmodel.model_folder import resolve
from worldmodel.training_record import read_record


def check_levels(checkpoint: str | None, *, seen: Mapping[str, Sequence[str]], unseen: Sequence[str]) -> None:
    """Compare levels with the training record of a checkpoint; ValueError if they disagree.

    `seen` are levels that training frames came from, by the settings that name them.
    """
    if checkpoint is None:
        return
    places = set(read_record(resolve(checkpoint)).places)
    if trained := sorted(places & set(unseen)):
        raise ValueError(
            f"unseen_levels names {', '.join(trained)}, which {checkpoint} was trained on; its training "
            f"levels are {', '.join(sorted(places))}"
        )
    for setting, levels in seen.items():
        if untrained := sorted(set(levels) - places):
            raise ValueError(
                f"{setting} names {', '.join(untrained)}, which {checkpoint} was not trained on; its "
                f"levels are {', '.join(sorted(places))}: set {setting} to some of them"
            )
