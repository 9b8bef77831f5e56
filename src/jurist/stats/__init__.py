"""The statistics everything else leans on. No data gives nan, or the whole interval; never zero."""
