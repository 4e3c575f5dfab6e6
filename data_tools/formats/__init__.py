"""One reader a source of recordings."""
