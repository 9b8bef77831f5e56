"""Language models whose weights are in this process: read, sampled from, scored, saved.

Needs torch, so nothing here is imported before a verb or an engine asks for it.
"""

import os

# On CPUs torch keeps what it prepared for each shape, by default of the last 1,024. Rows differ in length, so
# that a training of hours would hold gigabytes.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "128")
