"""ONNX Runtime, as agents use it: on one core, and quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codezero.errors import CodeZeroError


def load_session(path: Path) -> Any:
    """An ``onnxruntime.InferenceSession``. Raises `CodeZeroError` for a file that is no network."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own, of no common class
        raise CodeZeroError(f"{path} cannot be loaded: {error}") from None
