"""The study: tuning and ablation on the same folds, and one page that says what was found.

``report`` tabulates and states, ``page`` is the HTML, ``figures`` draws, ``job`` runs the steps in order.
"""
