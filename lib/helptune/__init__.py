"""helptune: helpful supervised fine-tuning of Gemma, small enough to read and real enough to use.

The folders are the stations that data passes, left to right; imports point only to the left:
`gemma` (the base model), `adapt` (what is trained), `data` (what it learns from), `train` (the training core),
`evaluate` (did it help), `experiment` (runs and reports) and `cli` (one verb a station).
"""

__version__ = "0.1.0"
