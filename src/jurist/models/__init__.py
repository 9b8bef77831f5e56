"""Models that learn from the labels: fine-tuning on answers, reward models, DPO, PPO.

Each trainer is one file with a visible loop. Everything below needs torch, so nothing here is imported
before a verb or an engine asks for it.
"""
