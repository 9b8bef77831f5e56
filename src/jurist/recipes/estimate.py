"""What a job will cost, before a call is made.

A sample of rows goes through the real pipeline, with an engine that answers nothing useful but counts: so what is
counted is what would be sent, templates, both orders, jury and all. What a model will write back is a guess, and
the guesses are printed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import islice
from typing import Any

from msgspec import Struct

from ..completions import matchups, mixture, sample
from ..config import parse_money
from ..engines.caller import call_key
from ..engines.engine import Ask, Reply
from ..engines.open import engine_name
from ..engines.prices import cost_of, price_of
from ..errors import DataError
from ..journal import Journal
from ..records import Dropped, Group, Prompt, Usage
from ..verdicts.judge import hear, open_judge
from .label import LabelConfig, check, expected_rows, judge_configs, policy_config, read_rows

CHARACTERS_PER_TOKEN = 4
"""Of English prose in the usual vocabularies; other scripts take more tokens."""
RATIONALE_TOKENS = 150
COMPLETION_TOKENS = 200
SAMPLE_ROWS = 200
