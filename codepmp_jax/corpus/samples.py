"""samples.md: by language, ten kept texts and ten dropped ones for each reason, drawn at random.

A text is drawn by the hash of its place, so that the sample depends neither on processes nor on kills.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterable
from typing import Any

from codepmp_jax.records.schema import content_id

NUMBER = 10
_MAX_CHARS = 1500
KEPT = "kept"


class Samples:
    """The `NUMBER` texts of the lowest hashes for each language and reason."""

    def __init__(self) -> None:
        self._drawn: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = {}

    def add(
        self, language: str, reason: str, key: str, sample: Callable[[], dict[str, Any]]
    ) -> None:
        """Draws a text where its key is among the lowest; only then `sample` is called, see `sample_of`."""
        drawn = self._drawn.setdefault((language, reason), [])
        if len(drawn) >= NUMBER and key >= drawn[-1][0]:
            return
        bisect.insort(drawn, (key, sample()), key=lambda one: one[0])
        del drawn[NUMBER:]

    def rows(self) -> list[dict[str, Any]]:
        """The texts drawn, as JSON."""
        return [
            {"language": language, "reason": reason, "key": key, "sample": sample}
            for (language, reason), drawn in self._drawn.items()
            for key, sample in drawn
        ]

    def add_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        """Adds what `rows` of another gave."""
        for row in rows:
            self.add(row["language"], row["reason"], row["key"], lambda row=row: row["sample"])

    def markdown(self, counts: dict[str, Any]) -> str:
        """The page; `counts` is the report's `by_language`."""
        lines = [
            "# Samples of the corpus",
            "",
            f"Up to {NUMBER} texts drawn at random for each reason.",
            "",
        ]
        for language in sorted({language for language, _ in self._drawn}):
            lines += [f"## {language}", ""]
            numbers = {KEPT: counts.get(language, {}).get("kept", 0)}
            numbers |= counts.get(language, {}).get("dropped", {})
            reasons = sorted(reason for one, reason in self._drawn if one == language)
            for reason in sorted(reasons, key=lambda reason: reason != KEPT):
                head = KEPT if reason == KEPT else f"dropped: {reason}"
                lines += [f"### {head} ({numbers.get(reason, 0)})", ""]
                for _, sample in self._drawn[language, reason]:
                    lines += _shown(sample, language)
        return "\n".join(lines)


def sample_of(
    *, repository: str, path: str, line: int, name: str, detail: str, description: str, content: str
) -> dict[str, Any]:
    """What is shown of a text, cut to a length that one reads."""
    is_cut = len(content) > _MAX_CHARS
    return {
        "place": f"{repository}/{path}:{line} {name}".strip(),
        "detail": detail,
        "description": description[:_MAX_CHARS],
        "content": content[:_MAX_CHARS] + ("\n..." if is_cut else ""),
    }


def key_of(*place: str | int) -> str:
    """The hash by which a text is drawn."""
    return content_id(*map(str, place))


def _shown(sample: dict[str, Any], language: str) -> list[str]:
    text = sample["content"]
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    lines = [f"`{sample['place']}`" + (f": {sample['detail']}" if sample["detail"] else ""), ""]
    if sample["description"]:
        lines += [*(f"> {line}".rstrip() for line in sample["description"].split("\n")), ""]
    return [*lines, *([f"{fence}{language}", text, fence, ""] if text else [])]
