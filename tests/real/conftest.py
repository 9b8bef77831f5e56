import sys
from pathlib import Path

import pytest

from support import recorded

sys.path.append(str(Path(__file__).parents[2] / "experiments"))


@pytest.fixture(scope="session")
def assistant():
    """The folder of the small assistant that `experiments/real_assistant.py` makes."""
    import real_assistant

    if not recorded.DATA.is_dir():
        pytest.skip(f"no recorded judgements at {recorded.DATA}")
    try:
        return real_assistant.assistant()
    except SystemExit as missing:
        pytest.skip(str(missing))
