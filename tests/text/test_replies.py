"""What is taken from a reply: tables of replies as models write them."""

import pytest

from codepmp_jax.text.replies import is_refusal, program_of, text_of

CODE = "def double(x):\n    return 2 * x"
BLOCK = f"```python\n{CODE}\n```"
DRAFT = "```python\ndef draft():\n    return 1\n```"
GO = "func Double(x int) int {\n\treturn 2 * x\n}"

SAME_TEXT = {
    "as it is": "Doubles x.",
    "thoughts": f"<think>\nFirst {DRAFT}\nno.\n</think>\n\nDoubles x.",
    "thoughts opened by the prompt": f"First {DRAFT}\nno.\n</think>\n\nDoubles x.",
    "thoughts with an open fence": "<think>```python\ndef f():\n</think>\nDoubles x.",
    "other tags": "<reasoning>hm</reasoning>Doubles x.",
    "Mistral's marks": "[THINK]hm[/THINK]Doubles x.",
    "gpt-oss": "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Doubles x.<|return|>",
    "end of turn": "Doubles x.<|im_end|>\n<|im_start|>user\nThanks",
    "Llama's end": "Doubles x.<|eot_id|><|start_header_id|>user<|end_header_id|>More",
    "begin of turn": "<|im_start|>assistant\nDoubles x.<|im_end|>",
    "DeepSeek's end": "Doubles x.<｜end▁of▁sentence｜>",
    "Gemma's end": "Doubles x.<end_of_turn>\n<start_of_turn>user",
    "BOS and EOS": "<s>Doubles x.</s>",
}


@pytest.mark.parametrize("name", SAME_TEXT)
def test_the_text_of_a_reply(name):
    assert text_of(SAME_TEXT[name]) == "Doubles x."


@pytest.mark.parametrize("reply", ["<think>cut off in it", "hm</think>", "<think>hm</think>\n"])
def test_a_reply_of_thoughts_has_no_text(reply):
    assert text_of(reply) == ""
    assert program_of(reply, "python") == ""


@pytest.mark.parametrize(
    "text",
    [
        "    return 1\n",
        'answer = text.split("</think>")[-1]\n',
        're.sub(r"<think>.*?</think>", "", text)\n',
        "re.sub(r'(<think>.*?</think>)\\s*', '', text)\n",
        "Removes what stands between `<think>` and `</think>`.",
        'EOS = "<|im_end|>"\n',
        "<p><s>old</s> new</p>\n",
    ],
)
def test_a_text_without_marks_stays_as_it_is(text):
    assert text_of(text) == text
    assert text_of(text.replace("\n", "\r\n")) == text


SAME_CODE = {
    "alone": CODE,
    "a block": BLOCK,
    "a block in prose": f"Sure:\n{BLOCK}\nDone.",
    "line ends of Windows": f"Sure:\n{BLOCK}\nDone.".replace("\n", "\r\n"),
    "tildes": f"Here:\n~~~python\n{CODE}\n~~~\nHope that helps.",
    "four backticks": f"````python\n{CODE}\n````",
    "no name": f"```\n{CODE}\n```",
    "another spelling": f"```Python3 title=a.py\n{CODE}\n```",
    "in a list": "1. Code:\n\n   ```python\n   def double(x):\n       return 2 * x\n   ```\n",
    "behind text": f"The code: ```python\n{CODE}\n```",
    "a draft before": f"{DRAFT}\nBetter:\n{BLOCK}",
    "a draft in thoughts": f"<think>{DRAFT}</think>{BLOCK}",
    "a shell block before": f"Install:\n```bash\npip install numpy\n```\nthen\n{BLOCK}",
    "a shell block behind": f"{BLOCK}\nRun:\n```sh\nls\n```",
    "output behind": f"{BLOCK}\nOutput:\n```\n4\n```",
    "named output behind": f"{BLOCK}\n```text\n4\n```\n```json\n[4]\n```",
    "example calls behind": f"{BLOCK}\nUse it:\n```python\nprint(double(2))\n```",
    "tests behind": f"{BLOCK}\n```python\ndef test_double():\n    assert double(2) == 4\n```",
    "a block that is cut off behind": f"{BLOCK}\nOr:\n```python\ndef double(x):\n    return (",
    "a block that does not parse behind": f"{BLOCK}\n```python\nthen call double(x\n```",
    "text after the turn": f"{BLOCK}<|im_end|>\n<|im_start|>user\n{DRAFT}",
    "marks of Code Llama": f"[PYTHON]\n{CODE}\n[/PYTHON]",
}


@pytest.mark.parametrize("name", SAME_CODE)
def test_the_program_of_a_reply(name):
    assert program_of(SAME_CODE[name], "python").strip("\n") == CODE


INNER = {
    "python": "def readme():\n    return '''\n```bash\npip install x\n```\n'''",
    "javascript": "/**\n```js\nrun()\n```\n*/\nfunction run() {\n  return 1;\n}",
    "rust": "/*\n```\nadd(1, 2)\n```\n*/\nfn add(a: i32, b: i32) -> i32 {\n    a + b\n}",
}


@pytest.mark.parametrize("language", ["python", "javascript", "rust"])
def test_fences_in_a_program_do_not_cut_it(language):
    reply = f"Sure:\n```{language}\n{INNER[language]}\n```\nDone."
    assert program_of(reply, language) == INNER[language]


@pytest.mark.parametrize(
    ("language", "name", "code"),
    [
        ("go", "golang", GO),
        ("c++", "cpp", "int twice(int x) { return 2 * x; }"),
        ("c", "c++", "int twice(int x) { return 2 * x; }"),
        ("c-sharp", "csharp", "class A { int F(int x) { return x; } }"),
        ("typescript", "ts", "function f(x: number) { return x; }"),
        ("shell", "bash", "f() {\n  echo 1\n}"),
        ("shell", "console", "f() {\n  echo 1\n}"),
        ("rust", "rs", "fn f(x: i32) -> i32 { x }"),
        ("kotlin", "", "fun f(x: Int): Int = x"),
        ("cobol", "cobol", "DISPLAY 'x'."),
    ],
)
def test_languages_by_the_names_that_models_use(language, name, code):
    reply = f"```python\nprint(1)\n```\nor\n```{name}\n{code}\n```\nand in Java:\n```java\nclass A {{}}\n```"
    assert program_of(reply, language) == code


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("```python\nx = '''\n```", "x = '''"),
        ("```python\nx = (1,\n", "x = (1,"),
        ("```java\nx = 1\n```", "x = 1"),
        ("```bash\npip install x\n```", ""),
        ("```python\n```", ""),
        ("", ""),
        ("a ``` b", "a ``` b"),
        ("def f(:\n", "def f(:\n"),
    ],
)
def test_what_is_left_of_a_reply_without_a_whole_program(reply, code):
    assert program_of(reply, "python") == code


@pytest.mark.parametrize(
    "text",
    [
        "I apologize, but I cannot assist with this request.",
        "I'm really sorry, but that is not possible.",
        "**I'm sorry**, I can’t do that.",
        "My apologies, the code is missing.",
        "I must decline.",
        "I won't be able to help.",
        "We are unable to write this.",
        "As an AI language model, I",
        "I'm just an AI.",
        "It is not possible for me to write it.",
        "Sorry, no.",
        "Could you please provide the code?",
        "Please provide the code that you want me to describe.",
        "It seems that you forgot the code.",
        "很抱歉，我无法提供帮助。",
        "抱歉，我不能这样做。",
        "Lo siento, no puedo.",
    ],
)
def test_refusals(text):
    assert is_refusal(text)
    assert is_refusal(text_of(f"<think>hm</think>\n{text}<|im_end|>"))


@pytest.mark.parametrize(
    "text",
    [
        "# Sorry for the hack.\nx = 1\n",
        '"""I cannot be None."""\n',
        "i = can_t\n",
        "Sorry = Exception\n",
        "Can a sequence be split? Returns whether it can.",
        "Could a board be won? Write a function that tells.",
        "Please provide a function that doubles a number.",
        "No input is given; the program prints 1.",
        "I/O is buffered.",
        "It is an iterator.",
        "As an argument it takes a list.",
        "We have two lists.",
        "Design a cache.",
        "",
    ],
)
def test_tasks_and_code_are_no_refusals(text):
    assert not is_refusal(text)
