"""How long work shows itself: count, rate and ETA on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

# tqdm's own lock is shared with processes that are forked: one that is killed while it holds it would stop all.
tqdm.set_lock(threading.RLock())


def end_bars() -> None:
    """Ends the bars that an error has left in the middle of a line."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    smoothing: float = 0.1,
    **labels: Any,
) -> tqdm[Any]:
    """A progress bar over `iterable`, or to be updated by hand; `labels` are tqdm's `desc` and `unit`.

    The rate is a moving average with weight `smoothing` of the newest, or, with 0, that since this start, which suits work
    that comes in bursts.

    Where stderr is no terminal, a line every ten seconds instead of a moving bar. Errors of stderr are those of
    cli.streams, which drops them.
    """
    interval = 0.5 if sys.stderr.isatty() else 10.0
    return tqdm(
        iterable,
        total=total,
        initial=initial,
        mininterval=interval,
        dynamic_ncols=True,
        smoothing=smoothing,
        **labels,
    )
