"""From a request to the tokens that a model reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from codepmp_jax.cli.errors import UserError, require
from codepmp_jax.config import WriterConfig
from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.writers.replies import REFUSED, TOO_LONG
from codepmp_jax.synthesis.writers.sampler import Request


class Prompts:
    """Prompts as a model's tokenizer writes them, in its chat template if there is to be one."""

    def __init__(self, tokenizer: Any, config: WriterConfig):
        """`tokenizer` is one of transformers'. Raises UserError where the chat template is missing, fails on any prompt,
        or does not know a setting."""
        self._tokenizer = tokenizer
        self._config = config
        template = getattr(tokenizer, "chat_template", None)
        require(
            bool(template) or config.chat != "always",
            "chat",
            config.chat,
            f"the tokenizer of {config.model} has no chat template",
            "set chat to auto or never, or put a chat_template.jinja into the model's folder",
        )
        self._is_chat = bool(template) and config.chat != "never"
        if self._is_chat:
            self._check(template)

    def _check(self, template: Any) -> None:
        config = self._config
        require(
            config.enable_thinking is None or "enable_thinking" in json.dumps(template),
            "enable_thinking",
            config.enable_thinking,
            f"the chat template of {config.model} does not know it",
            "leave it out",
        )
        try:
            self.encode("Say hello.")
        except Exception as error:
            raise UserError(
                f"chat = {config.chat!r}: the chat template of {config.model} fails on any prompt ({error!r}). "
                "Remedy: set chat to never, or mend chat_template.jinja in the model's folder."
            ) from error

    def encode_all(
        self, requests: Sequence[Request], longest: int
    ) -> Iterator[tuple[Request, list[int]] | Completion]:
        """Each request with its prompt's tokens; a completion that says why where the chat template refuses the prompt, or it
        leaves no room for a reply within `longest` tokens."""
        for request in requests:
            try:
                tokens = self.encode(request.prompt)
            except Exception as error:
                # A chat template raises for the prompt's sake; the model has not seen it.
                yield Completion(request.key, "", REFUSED, f"chat template: {error!r}")
                continue
            if len(tokens) < longest:
                yield request, tokens
            else:
                detail = f"{len(tokens)} tokens of {longest}"
                yield Completion(request.key, "", TOO_LONG, detail, num_prompt_tokens=len(tokens))

    def encode(self, prompt: str) -> list[int]:
        """A prompt's tokens, with at most one BOS. Raises whatever the chat template does for the prompt's sake."""
        if self._is_chat:
            thinking = self._config.enable_thinking
            prompt = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                **({} if thinking is None else {"enable_thinking": thinking}),
            )
        tokens = list(self._tokenizer.encode(prompt, add_special_tokens=not self._is_chat))
        bos = self._tokenizer.bos_token_id
        return tokens[1:] if bos is not None and tokens[:2] == [bos, bos] else tokens
