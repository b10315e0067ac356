"""Evaluation: policies over suites of programs, and the tables that results are reported in."""
