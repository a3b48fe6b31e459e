"""Exercises: what a learner writes, how it is checked, and how a folder of submissions is graded.

    mistakes.py   a wrong answer has a name     checks/      one file a notebook: right answers, known mistakes
    check.py      what a check does             progress.py  what a learner has solved, shown by panel.py
    cells.py      the parts of a notebook       release.py   solutions -> exercises
    mutants.py    are wrong answers found out?  grade/       submissions -> marks and feedback

The sources are `solutions/NN_name/NN_name.py`, in nbgrader's format, with `mutants.py` beside each.
"""
