"""What policies are asked: loading, de-duplicating and splitting prompts."""

from .load import load_prompts as load_prompts
