"""What a run shows to people: plots, a film, and one page that holds them.

Pure functions from numbers and pictures to files; nothing here runs a robot or a training. Start
with `page.py`: a report is a list of `Section`, and each stage (cloning, corrections, rewards)
adds its own. `plots.py` draws the figures, `film.py` makes films of roll-outs. May import types,
errors and frames; needs matplotlib, Pillow and imageio.
"""
