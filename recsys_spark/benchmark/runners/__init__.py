"""Contenders: each knows how its library is asked to fit, to predict and to serve. Driver of a measured process."""
