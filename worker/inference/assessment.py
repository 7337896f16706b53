"""The wrong-image guard: a frame that is unlike all training images gets no score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from worker.imaging.refusals import Refusal, Step
from worker.model.predictor import Score

NOT_ASSESSED = "NOT_ASSESSED_UNLIKE_TRAINING"
"""Code of the wrong-image guard: the only refusal that depends on the model."""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Which frames a model assesses, and how the others are reported."""

    model_name: str
    """e.g. `resnet50-0.2.0`."""
    cut_off: float | None
    """Greatest distance from the training set at which a frame is assessed; None: no guard."""
    assess_unlike: bool = False
    """Score frames beyond the cut-off nevertheless, with a warning (PNEUMO_WRONG_IMAGES=warn)."""

    def is_unlike(self, score: Score) -> bool:
        """Whether the frame is beyond the cut-off; exactly on it is within."""
        return self.cut_off is not None and (score.distance or 0.0) > self.cut_off

    def leaves_out(self, score: Score) -> bool:
        """Whether the frame gets no prediction."""
        return self.is_unlike(score) and not self.assess_unlike

    def warnings_of(self, score: Score) -> list[dict[str, object]]:
        """Return the warning for a frame that was scored although it is unlike the training set."""
        if not self.is_unlike(score):
            return []
        return [
            _warning(
                f"The picture is unlike the training set (found {self._found(score)}; expected "
                f"{self._expected()}); the score means little."
            )
        ]

    def warnings_of_left_out(self, frame_numbers: Sequence[int]) -> list[dict[str, object]]:
        """Return the warning for the scored frames of an instance of which these were left out."""
        if not frame_numbers:
            return []
        numbers = ", ".join(map(str, frame_numbers))
        return [
            _warning(f"Of this image, not assessed as unlike the training set: frame {numbers}.")
        ]

    def refusal_of(self, score: Score) -> Refusal:
        """Return why an instance with a valid header gets no score."""
        found, expected = self._found(score), self._expected()
        return Refusal(
            code=NOT_ASSESSED,
            tag=None,
            found=found,
            expected=expected,
            sentence=f"The picture is unlike those that {self.model_name} was trained on: found "
            f"{found} from them; expected {expected}. It may be turned, inverted, of another body "
            "part or of another kind; it was not assessed. Look at it.",
            step=Step.ASSESS,
        )

    def _found(self, score: Score) -> str:
        return f"a distance of {score.distance:.3f}"

    def _expected(self) -> str:
        return f"at most {self.cut_off:.3f}"


def _warning(sentence: str) -> dict[str, object]:
    return {"code": NOT_ASSESSED, "tag": None, "sentence": sentence}
