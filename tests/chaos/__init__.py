"""The fault matrix: every fault at every step of every operation, judged by rules.

`python -m chaos` runs all of it and writes docs/reliability.md; `make chaos` calls it.
"""
