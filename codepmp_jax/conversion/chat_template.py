"""The chat template that writes the rows of data.template.

`apply_chat_template` of a user's and an assistant's message returns the text and the tokens of a training row.
The template includes the special tokens that the tokenizer puts around a text and the EOS of data.append_eos,
because libraries tokenize its text without adding any. A system message precedes the first instruction, with an
empty line between; several rounds are rows with an empty line between. Anything else raises an exception.
"""

from __future__ import annotations

import dataclasses
import re

from codepmp_jax.config import DataConfig
from codepmp_jax.text.tokenization import Text, Tokenizer

_TEMPLATE = """\
{%- if tools %}{{ raise_exception('This model knows no tools.') }}{% endif -%}
{%- set state = namespace(next='user', system='', is_first=true) -%}
{%- for message in messages -%}
  {%- if message['content'] is not string -%}
    {{- raise_exception('The content of a message must be a string.') -}}
  {%- endif -%}
  {%- if message['role'] == 'system' and loop.first -%}
    {%- set state.system = message['content'] + '\\n\\n' -%}
  {%- elif message['role'] != state.next -%}
    {{- raise_exception('Messages must be of user and assistant in turn, after at most one of system.') -}}
  {%- elif state.next == 'user' -%}
    {{- BEFORE_ROW if state.is_first else '\\n\\n' -}}
    {{- HEAD + state.system + message['content'] + TAIL -}}
    {%- set state.next = 'assistant' -%}
    {%- set state.system = '' -%}
    {%- set state.is_first = false -%}
  {%- else -%}
    {{- message['content'] -}}
    {%- set state.next = 'user' -%}
    {%- if loop.last AND_NO_EOS -%}
      {{- AFTER_ROW -}}
    {%- endif -%}
  {%- endif -%}
{%- endfor -%}
"""

# Texts on which tokens by the template are compared with those of training.
PROBES = (
    ("Add two numbers.", "def add(a, b):\n    return a + b\n"),
    (" {{ x }} {% raw %} <|im_end|>", "\n\n  ünïcode 日本語 \U0001f600\r\n\tend  "),
    ("", "x"),
)


def _literal(text: str) -> str:
    """The text as a string literal of Jinja."""
    for character, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escaped)
    return f"'{text}'"


def _around(tokenizer: Tokenizer) -> tuple[str, str]:
    """(special tokens that the tokenizer puts before a text, those after it)."""
    encoding = tokenizer.backend.encode("x", add_special_tokens=True)
    real = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return "".join(encoding.tokens[: real[0]]), "".join(encoding.tokens[real[-1] + 1 :])


def make_template(tokenizer: Tokenizer, data: DataConfig, glue: str = "") -> str:
    """The Jinja template that writes rows with data.template (see the module), `glue` before the first one."""
    head, tail = data.template.removesuffix("{response}").split("{prompt}")
    before, after = _around(tokenizer)
    before += glue
    condition = ""
    if data.append_eos:
        tokenizer.require_eos()
        eos = tokenizer.special_tokens["eos_token"]
        if not after.endswith(eos):
            # Training does not append a second EOS either.
            condition = (
                f" and not message['content'].rstrip().endswith({_literal(eos)})"
                if not after
                else ""
            )
            after += eos
    parts = {
        "BEFORE_ROW": _literal(before),
        "AFTER_ROW": _literal(after),
        " AND_NO_EOS": condition,
        "HEAD": _literal(head),
        "TAIL": _literal(tail),
    }
    return re.sub("|".join(parts), lambda found: parts[found[0]], _TEMPLATE)


def find_template(tokenizer: Tokenizer, data: DataConfig) -> tuple[str, bool]:
    """(the template that writes rows with data.template, whether its tokens are those of training on PROBES).

    Tokenizers of SentencePiece's kind begin a text with a space, but not what follows a special token: with a space
    before the row, the template gives the same tokens where the row does not begin with the prompt.
    """
    for glue in ("", " "):
        template = make_template(tokenizer, data, glue)
        if is_exact(dataclasses.replace(tokenizer, chat_template=template), data):
            return template, True
    return make_template(tokenizer, data), False


def of_conversations(tokenizer: Tokenizer, data: DataConfig, known: dict[str, str]) -> str | None:
    """The tokenizer's own template, with what training adds to its text: the EOS of data.append_eos, where the text
    does not end in one but for white space. None if it has none.

    Special tokens that are not in `known` (by role) are written into it: the folder does not name them.
    """
    template = tokenizer.chat_template
    if template is None:
        return None
    lost = "".join(
        f"{{% set {role} = {_literal(token)} %}}{{{{ '' }}}}"
        for role, token in tokenizer.special_tokens.items()
        if role not in known and role in template
    )
    if not data.append_eos:
        return lost + template
    tokenizer.require_eos()
    eos = _literal(tokenizer.special_tokens["eos_token"])
    # The empty strings keep Jinja from trimming the template's own first line end and last spaces; the last line end
    # it would have dropped itself.
    body = template.removesuffix("\n")
    return (
        f"{lost}{{%- set written -%}}{{{{ '' }}}}{body}{{{{ '' }}}}{{%- endset -%}}{{{{ written }}}}"
        f"{{%- if not add_generation_prompt and not written.rstrip().endswith({eos}) -%}}{{{{ {eos} }}}}"
        "{%- endif -%}"
    )


def is_exact(tokenizer: Tokenizer, data: DataConfig) -> bool:
    """Whether the tokenizer's chat template gives the tokens of training rows, on PROBES.

    It does not if the tokenizer treats the beginning of a text differently from text after a special token
    (SentencePiece's dummy prefix).
    """
    for prompt, response in PROBES:
        rows = tokenizer.encode(
            [tokenizer.format(prompt, response, data.template)], append_eos=data.append_eos
        )
        messages = [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": response},
        ]
        rendered = Text(tokenizer.render(messages), 0, add_special_tokens=False)
        if rows[0].tokens.tolist() != tokenizer.encode([rendered])[0].tokens.tolist():
            return False
    return True
