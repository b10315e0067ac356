"""Portfolios: short lists of passes, and what chooses a few of them for a program."""
