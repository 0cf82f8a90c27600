"""Drawn people who exercise: clips made here, for learning to tell squats from lunges.

`movements` says how a person moves, `arms` what the arms do meanwhile, `body` where the limbs are
then, `drawing` how a camera sees it, and `exercise_set` makes labeled clips of it.
"""
