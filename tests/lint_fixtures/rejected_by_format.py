"""Quotes, spaces and a missing blank line."""
VALUES = { 'a':1,
  'b' : 2 }
