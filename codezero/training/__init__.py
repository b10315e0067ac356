"""Training the agent: rollouts in compiler environments, updates, validation, checkpoints, logs.

Needs torch: ``pip install codezero[train]``.
"""
