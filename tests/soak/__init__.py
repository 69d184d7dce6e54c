"""The endurance run: programs that work for an hour, and what they hold meanwhile.

`python -m soak` runs it and writes docs/endurance.md; `make soak` calls it.
"""
