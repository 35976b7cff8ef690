"""Lines of JSON."""

import json

import pytest

from codepmp_jax.files.json_lines import json_line


@pytest.mark.parametrize("text", ["é", "😀", "\ud83d", "a\udc00b", "\\ud83d", "\u2028\n"])
def test_a_line_can_be_encoded_and_is_read_back_as_it_was(text):
    line = json_line({"text": text})
    assert json.loads(line.encode()) == {"text": text}
    assert "\n" not in line


def test_what_utf_8_can_hold_is_not_escaped():
    assert json_line(["é😀"]) == '["é😀"]'
    assert json_line("\ud83d") == '"\\ud83d"'
