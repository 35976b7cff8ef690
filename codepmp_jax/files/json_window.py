"""The next characters of a JSON stream, for readers of arrays that do not fit into memory."""

from __future__ import annotations

import codecs
from typing import Any

# Bytes read at a time, at least.
CHUNK = 1 << 20


class JsonWindow:
    """The next characters of a stream of UTF-8."""

    def __init__(self, stream: Any, errors: str = "strict"):
        """`stream` gives bytes by read(size). `errors` is what happens to bytes that are no UTF-8, as in bytes.decode:
        `fill` may raise UnicodeDecodeError."""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors=errors)
        self._before = 0  # characters that were dropped from the text
        self.text = ""
        self.start = 0
        """What is read ends here."""

    @property
    def place(self) -> int:
        """Characters of the stream before `start`."""
        return self._before + self.start

    def fill(self) -> bool:
        """Adds to what is not read yet, as much as there is of it at least; False at the end of the stream."""
        self._before += self.start
        self.text, self.start = self.text[self.start :], 0
        data = self._stream.read(max(CHUNK, len(self.text)))
        self.text += self._decoder.decode(data, final=not data)
        return bool(data)
