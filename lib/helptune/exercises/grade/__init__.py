"""A folder of submissions becomes marks and feedback, and no submission can do more than answer its own questions.

    submissions.py  which files are there          rebuild.py  a learner's answers on the key's skeleton
    key.py          what is asked, and is right    look.py     what an answer's text says before it runs
    mark.py         one submission's points        batch.py    all of them, in parallel; resumed where it stopped
    feedback.py     a page for each learner        overview.py a page for the instructor; table.py: marks.csv

    The learner's side of the wall:  worker.py runs answers, in sandbox.py's box, under seccomp.py's filter;
                                     wire.py is all that passes through.

Checks run on this side: they call stand-ins, which send arguments to the worker and get values back.
"""
