"""Evaluation of the model itself: language, flow, pictures, answers; public benchmarks from local files."""
