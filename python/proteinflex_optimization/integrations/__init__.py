"""What makes other programs' objects and ours work together; each module needs its library.

Nothing here is imported before it is used, so the package itself needs none of the libraries.
"""
