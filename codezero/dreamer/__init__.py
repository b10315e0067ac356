"""The learning agent: a world model of the compiler, and a policy that learns inside it.

DreamerV3 (Hafner et al. 2023, https://arxiv.org/abs/2301.04104) as the paper uses it. Needs torch:
``pip install codezero[train]``. Tensors of sequences have shape (T, B, ...): time first.
"""
