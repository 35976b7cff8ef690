"""A reward model -> rewards over HTTP: `codepmp serve --model hf/pmp_7b`."""

from codepmp_jax.config import ServeConfig, presets

COMMAND = (ServeConfig, "Serves rewards over HTTP.")


def main() -> None:
    """Parses and serves."""
    config = presets.parse(*COMMAND)
    from codepmp_jax.serving.server import serve

    serve(config)
