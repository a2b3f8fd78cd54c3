"""Side features of items and users: named groups of columns, each with its own normalisation.

``sources`` joins and checks the raw values, ``vocabulary`` and ``statistics`` learn from them, ``groups`` encodes,
``encode`` is the whole way from a table to a feature matrix, ``columns`` says what its columns are, ``job`` publishes.
"""
