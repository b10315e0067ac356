"""Soundness: random pass sequences against LLVM, and the shortest list behind each failure."""
