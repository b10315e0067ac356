"""Agents: exported policies and what runs them, without torch."""
