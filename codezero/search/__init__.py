"""Search: ways to choose passes that need no training, through the interface the agent uses."""

from codezero.search.budget import Budget
from codezero.search.greedy import GreedySearch
from codezero.search.policy import Found, Policy, parse_policy
from codezero.search.sequences import FixedSequence, RandomSearch

__all__ = [
    "Budget",
    "FixedSequence",
    "Found",
    "GreedySearch",
    "Policy",
    "RandomSearch",
    "parse_policy",
]
