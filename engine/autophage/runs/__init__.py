"""Runs as a whole: start, resume, fork, read and export one.

    start      load a recipe and execute it      execute   the steps of a run, in order
    handle     read a run directory              directory first files of a run
    fork       begin with another run's work     export    copy a generation out, with a card
    scored     score a text under a model

One process at a time writes a run directory.
"""
