"""Several servers as one service, by a Redis that they share (docs/decisions/0024).

`link` is the way to it and knows when it is away; `mirror` keeps trails of sessions there, `register` says whose
sessions are, `member` who else serves and what all of them have open, `questions` what one may ask the others.
"""
