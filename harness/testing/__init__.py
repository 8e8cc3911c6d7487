"""Fakes, public so that users can test their own suites without a model."""

from harness.testing.scripted import Scripted

__all__ = ["Scripted"]
