"""Open-loop and closed-loop evaluation, its records and its report."""
