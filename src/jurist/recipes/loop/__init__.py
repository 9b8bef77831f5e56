"""What the recipes that go round share: a folder, steps that are done once, comparisons, reasons to stop."""
