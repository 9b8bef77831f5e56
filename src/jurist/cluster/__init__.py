"""One labelling job on many machines: blocks of its rows, each labelled by an actor as a run of its own."""
