"""What we decided to train on: pairs, targets, their hygiene, export and card."""
