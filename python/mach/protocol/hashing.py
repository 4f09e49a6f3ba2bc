"""Keccak-256."""

from __future__ import annotations

from mach._core import keccak256

__all__ = ["keccak256"]
