"""What makes other programs' objects and ours work together; each module needs its library.

Nothing here is imported before it is used, so none of the libraries is needed by the package itself.
"""
