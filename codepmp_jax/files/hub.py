"""The Hugging Face hub: what fails for a while is tried again, and is no mistake of whoever started the command."""

from __future__ import annotations

import logging
import os
import pathlib
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from codepmp_jax.cli.errors import StoreError, UserError

ResultT = TypeVar("ResultT")

# Seconds between attempts.
WAITS = (1.0, 2.0, 4.0, 8.0)
# Most that is waited for a limit of requests to be lifted: a little over the hub's window of five minutes.
_LONGEST_WAIT = 330.0
# HTTP statuses of a server that is busy or ill; others below 500 are answers.
_FOR_A_WHILE = {408, 425, 429}

_logger = logging.getLogger("codepmp_jax")


def _is_answer(error: Exception) -> bool:
    """Whether the hub refused, or HF_HUB_OFFLINE forbids to ask it: another attempt would end the same."""
    from huggingface_hub import constants, errors

    answers = (
        errors.HFValidationError,
        errors.LocalTokenNotFoundError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
    )
    if constants.HF_HUB_OFFLINE or isinstance(error, answers):
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status is not None and status < 500 and status not in _FOR_A_WHILE


def _asked_wait(error: BaseException | None) -> float:
    """Seconds after which the hub says that it takes requests again; 0 where it says nothing."""
    from huggingface_hub.utils import parse_ratelimit_headers

    while error is not None:
        headers = getattr(getattr(error, "response", None), "headers", {})
        limit = parse_ratelimit_headers(headers)
        after = headers.get("retry-after", "")
        if limit is not None and limit.remaining == 0:
            return min(limit.reset_in_seconds + 1.0, _LONGEST_WAIT)
        if after.isdecimal():
            return min(float(after), _LONGEST_WAIT)
        # snapshot_download says that it found nothing in its cache either, because of the error that counts.
        error = error.__cause__
    return 0.0


def fetch(download: Callable[[], ResultT], what: str, remedy: str) -> ResultT:
    """What `download` gives; errors of the network and of the server are tried again, when the hub says so or after
    WAITS.

    Raises UserError where the hub has no `what` (a setting and its value) or refuses it, StoreError where it cannot be
    reached.
    """
    for wait in (*WAITS, None):
        try:
            return download()
        except Exception as error:  # the hub's clients raise many kinds
            said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            if _is_answer(error):
                raise UserError(
                    f"{what}: no such folder, and the Hugging Face hub does not give it ({said}). Remedy: {remedy}."
                ) from error
            if wait is None:
                raise StoreError(
                    f"{what}: no such folder, and the Hugging Face hub cannot be reached ({said}). Remedy: start "
                    f"again when it can, or {remedy}."
                ) from error
            wait = max(wait, _asked_wait(error))
            _logger.warning("%s: the hub cannot be reached (%s); again in %.0f s", what, said, wait)
            time.sleep(wait)
    raise AssertionError


Kind = Literal["model", "dataset"]


class Repository:
    """A repository on the hub that something is written to, with the token of `hf auth login` or HF_TOKEN."""

    def __init__(self, name: str, kind: Kind):
        """Makes it, private, where it is not there: before the work whose result it is for.

        Raises UserError where the hub refuses, StoreError where it cannot be reached.
        """
        from huggingface_hub import HfApi

        self._name = name
        self._kind: Kind = kind
        self._api = HfApi()
        self._ask(lambda: self._api.create_repo(name, repo_type=kind, private=True, exist_ok=True))

    def push(self, path: str | os.PathLike[str]) -> str:
        """Commits a folder's files, or one file, and gives the address of the commit. Raises as the constructor does."""
        source = pathlib.Path(path)
        message = "Upload by codepmp_jax"
        if source.is_dir():
            return self._ask(
                lambda: self._api.upload_folder(
                    repo_id=self._name,
                    repo_type=self._kind,
                    folder_path=source,
                    commit_message=message,
                )
            ).commit_url
        return self._ask(
            lambda: self._api.upload_file(
                path_or_fileobj=source,
                path_in_repo=f"data/{source.name}",
                repo_id=self._name,
                repo_type=self._kind,
                commit_message=message,
            )
        ).commit_url

    def _ask(self, request: Callable[[], ResultT]) -> ResultT:
        try:
            return request()
        except Exception as error:  # the hub's clients raise many kinds
            said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            what = f"push_to_hub = {self._name!r}"
            if _is_answer(error):
                raise UserError(
                    f"{what}: the Hugging Face hub refuses ({said}). Remedy: `hf auth login` with a token that may write "
                    "there, and give OWNER/NAME."
                ) from error
            raise StoreError(
                f"{what}: the Hugging Face hub cannot be reached ({said}). Remedy: when it can, `hf upload` what was "
                "written, or start again."
            ) from error
