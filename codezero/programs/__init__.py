"""Programs: what is to be made small, and the suites they come in."""
