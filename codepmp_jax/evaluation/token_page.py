"""The reward of every token of some texts: a line a text, and a page that shows each with its tokens coloured.

OUTPUT/tokens.jsonl    item_id, index, pieces (the tokens' texts) and rewards of a response, a line each
OUTPUT/report.html     the same to look at: green is high, red is low, a token's reward below the pointer
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from codepmp_jax.cli import html_page
from codepmp_jax.cli.errors import require
from codepmp_jax.config import ScoreConfig, TokenPageConfig
from codepmp_jax.evaluation.items import item_id_of, read_items
from codepmp_jax.files import output as outputs
from codepmp_jax.files.json_files import write_lines
from codepmp_jax.text.forms import Refused


class Response(NamedTuple):
    """A response with its tokens' rewards."""

    item_id: str
    index: int
    """0 for chosen and 1 for rejected, or the candidate's place."""
    pieces: list[str]
    rewards: list[float]


def run(config: TokenPageConfig) -> None:
    """Writes the folder; says how many texts are in it."""
    for name in ("model", "input", "output"):
        value = getattr(config, name)
        require(value != "", name, value, "must be given", f"add --{name} PATH")
    from codepmp_jax.evaluation.scorers.jax_scorer import JaxScorer

    with outputs.folder(config.output) as folder:
        score = ScoreConfig(
            model=config.model,
            backend="jax",
            step=config.step,
            texts=config.texts,
            scorer=config.scorer,
        )
        scorer = JaxScorer.load(score)
        keys, rows, starts, num_refused, num_cut = [], [], [], 0, 0
        for item in read_items(config.input, config.split)[: config.num_items]:
            try:
                texts = scorer.form.texts(item, scorer.tokenizer)
            except Refused:
                num_refused += 1
                continue
            encoded = scorer.tokenizer.encode(texts, append_eos=scorer.form.append_eos)
            for index, text in enumerate(encoded):
                tokens = text.tokens[: scorer.form.max_length]
                if text.response_start < len(tokens):
                    keys.append((item_id_of(item), index))
                    rows.append(tokens)
                    starts.append(text.response_start)
                else:
                    num_cut += 1
        require(
            len(rows) > 0,
            "input",
            config.input,
            "has no text with a token of a response",
            "give other items, or say with --texts.form how they are to be written",
        )
        backend = scorer.tokenizer.backend
        responses = [
            Response(
                key[0],
                key[1],
                [backend.decode([int(token)], skip_special_tokens=False) for token in row[start:]],
                [float(reward) for reward in rewards[start:]],
            )
            for key, row, start, rewards in zip(
                keys, rows, starts, scorer.token_rewards(rows), strict=True
            )
        ]
        write_lines(folder / "tokens.jsonl", [response._asdict() for response in responses])
        html_page.write(folder / "report.html", page(responses, config.model))
    left_out = "".join(
        f", {number} {what} left out"
        for number, what in (
            (num_refused, "items that the form refuses"),
            (num_cut, "texts without a token of a response"),
        )
        if number
    )
    print(f"{len(responses)} responses{left_out}: {config.output}/report.html")


def page(responses: Sequence[Response], model: str) -> str:
    """The page of responses, chosen beside rejected."""
    rewards = np.concatenate([response.rewards for response in responses])
    # A few extreme tokens would make all others pale.
    scale = max(float(np.quantile(np.abs(rewards), 0.95)), 1e-9)
    by_item: dict[str, list[Response]] = {}
    for response in responses:
        by_item.setdefault(response.item_id, []).append(response)
    sections = [
        html_page.paragraph(
            f"Rewards of tokens by {model}. Green is above 0 and red below; full colour is {scale:.2f} and beyond. Point at "
            "a token to read its reward."
        )
    ]
    for item_id, some in by_item.items():
        parts = "".join(
            f"<div><p>text {one.index}: mean {np.mean(one.rewards):.3f}, least {np.min(one.rewards):.3f}, last "
            f"{one.rewards[-1]:.3f}</p><pre>{coloured(one, scale)}</pre></div>"
            for one in some
        )
        sections.append(html_page.section(item_id, f'<div class="texts">{parts}</div>'))
    return html_page.page("Token rewards", sections)


def coloured(response: Response, scale: float) -> str:
    """The response's tokens as HTML, each on a colour by its reward, of which `scale` is the full one."""
    return "".join(
        f'<span title="{reward:.3f}" style="background:{_colour(reward / scale)}">{html.escape(piece)}</span>'
        for piece, reward in zip(response.pieces, response.rewards, strict=True)
    )


def _colour(share: float) -> str:
    """Of -1 (red) to 1 (green)."""
    strength = round(min(abs(share), 1.0) * 0.6, 3)
    return f"rgba({'46,160,67' if share > 0 else '218,54,51'},{strength})"
