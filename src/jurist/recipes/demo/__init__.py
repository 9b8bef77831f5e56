"""The demo: RLAIF from beginning to end in the tiny world, and one page that tells what happened."""
