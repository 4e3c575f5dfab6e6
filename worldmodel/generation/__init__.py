"""Generation: text and frames that follow documents, on the cache throughout."""

from worldmodel.generation.generator import GenerationConfig, Generator

__all__ = ["GenerationConfig", "Generator"]
