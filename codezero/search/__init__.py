"""Search: ways to choose passes, with a trained agent or without one."""
