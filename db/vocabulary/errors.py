"""Refusals of this package, each with a code and a sentence, as in `worker.errors`."""

from __future__ import annotations


class DatabaseRefusal(Exception):
    """A function refused; `code` is stable, `sentence` is for a person and holds no personal data."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class StaleClaim(DatabaseRefusal):
    """The claim is no longer held, so nothing was written; drop the work, another attempt has it."""

    def __init__(self, token: int) -> None:
        super().__init__(
            "STALE_CLAIM",
            f"Attempt {token} no longer holds this study (its lease expired or it has ended), so "
            "its results were not written. You need not do anything: the study goes on without it.",
        )
        self.token = token


class FetchedContentDiffers(DatabaseRefusal):
    """An image whose file is gone was fetched again, and is not the image that was assessed."""

    def __init__(self) -> None:
        super().__init__(
            "FETCHED_OTHERWISE",
            "The archive now returns another content for an image that was assessed or replaced, and "
            "the earlier file is not on this machine. Give this worker access to the folder that has "
            "it (PNEUMO_STATE_DIR), or have the archive send the study by C-STORE.",
        )


class ModelConflict(DatabaseRefusal):
    """Another bundle is registered under this name, or this bundle under another name."""


class ModelUnknown(DatabaseRefusal):
    """No model version has this name."""


class ShadowIsActive(DatabaseRefusal):
    """The active model version was selected as its own shadow."""


class AmbiguousStudy(DatabaseRefusal):
    """The keys of several studies begin with these characters."""
