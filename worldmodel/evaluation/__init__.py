"""Evaluation of the model itself: language, flow, pictures, answers, and public benchmarks from local files."""
