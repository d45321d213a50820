"""Every figure of a sweep, drawn by matplotlib: for the page as SVG, for papers and slides as files.

One module a figure. Each says first what is to be seen (plain numbers and words, from a summary), then
how it is drawn at a given width. Not here: the numbers themselves (`harness.analysis`).
"""
