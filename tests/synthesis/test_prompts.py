"""What is asked."""

from codepmp_jax.config import WriterConfig
from codepmp_jax.config.synthesis import DESCRIBE_TEMPLATE
from codepmp_jax.records.schema import SourceFile
from codepmp_jax.synthesis.prompts import make_request, template_version

SOURCE = SourceFile(
    "id", "f({description}, {})\n", "Calls f.", "f", "file", "c", "r", "f.c", "MIT", 1
)


def test_placeholders_are_filled_once_and_other_braces_stay():
    writer = WriterConfig(template="{language} {description} {x: 1} {code}")
    request = make_request("key", writer, SOURCE, "a {code} task")
    assert request.prompt == "c a {code} task {x: 1} f({description}, {})\n"
    assert (request.key, request.description, request.source) == ("key", "a {code} task", SOURCE)


def test_default_templates_ask_for_what_the_pass_needs():
    describe = make_request("key", WriterConfig(template=DESCRIBE_TEMPLATE), SOURCE, "")
    assert SOURCE.content in describe.prompt
    write = make_request("key", WriterConfig(), SOURCE, "Do it.")
    assert "Do it." in write.prompt
    assert SOURCE.content not in write.prompt


def test_template_version_changes_with_its_text():
    assert template_version("a") == template_version("a") != template_version("b")
