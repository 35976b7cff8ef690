"""What every command shares: user errors, exit codes, progress, pages.

Enters: what needs no other package.
"""
