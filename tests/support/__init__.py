"""What tests, experiments and benches share: a real server and judges, with planted faults; the command line."""
