"""The console command `codepmp`, a module for each subcommand; `launch/` has a script for each.

Enters: a command's settings, the calls that do its work, and its summary. What takes long to import is
imported after the settings are parsed, so that `--help` and mistakes are answered at once.
"""
