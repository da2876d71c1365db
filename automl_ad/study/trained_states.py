"""What the best trials have learned, kept so that the final check need not train them again."""

from __future__ import annotations

from collections.abc import Collection

from safetensors import SafetensorError
from safetensors.torch import load, save

from automl_ad.methods.base import Detector
from automl_ad.store.artifacts import StudyFolder, write_atomically

FILE = "state.safetensors"


def save_state(detector: Detector, folder: StudyFolder, number: int) -> None:
    """Writes the state of a trial's detector, if its method trains: what is computed in closed form is done sooner.

    Raises:
        StoreError: The folder cannot be written.
    """
    if detector.settings.trains:
        with write_atomically(folder.trial(number) / FILE) as temporary:
            temporary.write_bytes(save(detector.state))


def restore_state(detector: Detector, folder: StudyFolder, number: int) -> bool:
    """Loads what ``save_state`` wrote into an unfitted detector; False where there is nothing that suits it."""
    try:
        detector.load_state(load((folder.trial(number) / FILE).read_bytes()))
    except (OSError, SafetensorError, ValueError):  # dropped, damaged, or of another version
        return False
    return True


def remove_states(folder: StudyFolder, kept: Collection[int]) -> None:
    """Removes the states of all trials but some: those of large networks would fill the disk."""
    spared = {folder.trial(number) / FILE for number in kept}
    for path in set(folder.trials.glob(f"*/{FILE}")) - spared:
        path.unlink(missing_ok=True)
