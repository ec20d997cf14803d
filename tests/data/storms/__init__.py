"""What a cache has to stand, one kind a module; `storm.py` beside it runs them."""
