"""`python -m codepmp_jax` is `codepmp`."""

from codepmp_jax.commands.main import main

if __name__ == "__main__":
    main()
