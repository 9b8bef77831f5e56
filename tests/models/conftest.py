import os
from importlib.util import find_spec

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Training is an extra: without it there is nothing here to test.
collect_ignore_glob = [] if find_spec("torch") and find_spec("transformers") else ["test_*.py"]
