"""Compares the cron evaluator with two others that share no code with it, over the clock changes of zones.

``cronsim`` is a package; ``rule`` is the written rule itself, worked out day by day from Python's own zones.
``python -m tests.clocks`` compares 400 zones over ten years. Zones come from the tzdata of the same
release as the evaluator's.
"""
