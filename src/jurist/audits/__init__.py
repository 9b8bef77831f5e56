"""When it falls down: what may be wrong with the labels of a run, measured on the user's own data.

An audit is a function from a `Sheet` (or from what a loop's rounds came to) to findings. It reads records
only: it asks no model, needs no run of ours, and never imports torch. No data gives no number.
"""
