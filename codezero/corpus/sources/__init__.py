"""Sources: what the units of a corpus are found in, one file for each kind."""
