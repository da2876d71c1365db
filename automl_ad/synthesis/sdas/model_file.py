"""A trained model on disk: weights, measurements of training and gate, and a contact sheet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from automl_ad.errors import StoreError
from automl_ad.store.artifacts import read_json, write_atomically, write_json
from automl_ad.store.plain_json import plain
from automl_ad.synthesis.contact_sheet import contact_sheet, write_png

SCHEMA = 1


class ModelFile:
    """The model in one folder.

    A folder with a damaged model, or a model of other images or settings, counts as empty.

    Args:
        folder: Folder of the model; not created before ``save``.
        identity: All inputs that the model depends on, JSON-able.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        self._identity = plain(dict(identity))
        self.facts: dict[str, Any] = {}
        self.reload()

    def reload(self) -> None:
        """Reads the facts of the model currently in the folder."""
        self.facts = self._read()

    @property
    def passed(self) -> bool:
        """Whether there is a model that passed the gate."""
        return bool(self.digest) and self.facts["fault"] is None

    @property
    def rounds(self) -> int:
        """Rounds of training so far."""
        return int(self.facts.get("rounds", 0))

    @property
    def digest(self) -> str:
        """SHA-256 of the weights; empty if there are none."""
        return str(self.facts.get("weights", ""))

    @property
    def sheet(self) -> Path | None:
        """Contact sheet of the gate's images; None if there is none."""
        return self._folder / "gate.png" if self.digest else None

    def load(self, module: nn.Module) -> None:
        """Loads the weights into a module of the model's shape.

        Raises:
            StoreError: The weights file is missing or damaged.
        """
        path = self._weights(self.digest)
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.digest:
                raise StoreError(f"{path} was altered since it was trained; delete the folder and run again.")
            module.load_state_dict(load(content))
        except (OSError, SafetensorError, RuntimeError) as error:
            fault = type(error).__name__
            raise StoreError(f"{path} cannot be read ({fault}); delete the folder and run again.") from error

    def save(
        self, module: nn.Module, facts: Mapping[str, Any], drawn: Mapping[float, Sequence[npt.NDArray[np.uint8]]]
    ) -> None:
        """Writes the weights, then a contact sheet, and last the facts, which make the model valid.

        Args:
            module: The model.
            facts: Measurements, including ``fault``, which is None if the model passed the gate.
            drawn: Rows of the contact sheet by strength.

        Raises:
            StoreError: The folder cannot be written or the disk is full; the previous model is kept.
        """
        content = save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})
        digest = hashlib.sha256(content).hexdigest()
        with write_atomically(self._weights(digest)) as temporary:
            temporary.write_bytes(content)
        write_png(self._folder / "gate.png", _sheet(drawn))
        self._record(dict(facts) | {"weights": digest})
        for path in self._folder.glob("model-*.safetensors"):
            if path != self._weights(digest):
                path.unlink(missing_ok=True)

    def record_failure(self, fault: str, rounds: int) -> None:
        """Records that no model could be trained in ``rounds`` rounds, so that it is not tried again.

        Raises:
            StoreError: The folder cannot be written.
        """
        self._record({"rounds": rounds, "fault": fault})

    def _record(self, facts: dict[str, Any]) -> None:
        write_json(self._folder / "model.json", {"schema": SCHEMA, "identity": self._identity, "facts": facts})
        self.facts = facts

    def _weights(self, digest: str) -> Path:
        """Named by content, so that an interrupted save keeps the weights to which the facts refer."""
        return self._folder / f"model-{digest[:16]}.safetensors"

    def _read(self) -> dict[str, Any]:
        try:
            content = read_json(self._folder / "model.json")
            facts = content["facts"] if self._is_ours(content) else {}
            complete = isinstance(facts.get("rounds"), int) and {"fault", "rounds"} <= set(facts)
        except (StoreError, AttributeError, KeyError, TypeError):
            return {}
        stored = not facts.get("weights") or self._weights(str(facts["weights"])).is_file()
        return dict(facts) if complete and stored else {}

    def _is_ours(self, content: Any) -> bool:
        return bool(content["schema"] == SCHEMA and content["identity"] == self._identity)


def _sheet(drawn: Mapping[float, Sequence[npt.NDArray[np.uint8]]]) -> npt.NDArray[np.uint8]:
    images = [image for row in drawn.values() for image in row]
    captions = [f"strength {strength:g}" for strength, row in drawn.items() for _ in row]
    return contact_sheet(images, None, captions, columns=max(len(row) for row in drawn.values()), cell=160)
