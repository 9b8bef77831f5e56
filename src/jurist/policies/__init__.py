"""Language models whose weights are in this process: read, sampled from, scored, saved.

Needs torch, so nothing here is imported before a verb or an engine asks for it.
"""
