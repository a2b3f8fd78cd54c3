"""Small fits in every form of the model, for what is made of a fitted model."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from problems import Problem, problem
from recsys_spark.als.model import FittedModel
from recsys_spark.als.settings import AlsSettings, ImplicitSettings, SideSettings, UnobservedSettings
from recsys_spark.als.train import train
from recsys_spark.blocks.layout import USERS

SIDE = SideSettings(reg=2.0)
FORMS = {
    "learned": AlsSettings(rank=3, max_iter=3, user=SIDE, item=SIDE),
    "weighted, no bias": AlsSettings(
        rank=3, max_iter=3, mean="none", user=SideSettings(reg=0.1, reg_mode="weighted", bias="none"), item=SIDE
    ),
    "static": AlsSettings(rank=3, max_iter=2, user=SideSettings(bias="static"), item=SideSettings(bias="static")),
    "static users": AlsSettings(rank=3, max_iter=2, user=SideSettings(bias="static"), item=SIDE),
    "nonnegative": AlsSettings(rank=3, max_iter=3, user=SIDE, item=SIDE, nonnegative=True),
    "implicit": AlsSettings(
        rank=3, max_iter=3, user=SideSettings(reg=0.1, reg_mode="weighted"), item=SIDE,
        implicit=ImplicitSettings(prefs=True, alpha=2.0),
    ),
    "cells": AlsSettings(
        rank=3, max_iter=3, user=SIDE, item=SIDE, unobserved=UnobservedSettings(weight=0.1, target=2.0)
    ),
    "baseline cells": AlsSettings(rank=20, max_iter=2, user=SIDE, item=SIDE, unobserved=UnobservedSettings(weight=0.1)),
    "biases alone": AlsSettings(rank=0, max_iter=4, user=SIDE, item=SIDE),
}  # fmt: skip


def fitted(settings: AlsSettings, seed: int = 0) -> tuple[Problem, FittedModel]:
    p = problem(users=30, items=25, held_out=0.0, seed=seed)
    twice = pa.concat_tables([p.ratings, p.ratings.slice(0, 3)])  # some pairs twice
    p = replace(p, ratings=twice)
    return p, train(p.executor(2, 2), settings, p.columns)


def of_side(p: Problem, side: int) -> pa.Table:
    names = ("user", "item") if side == USERS else ("item", "user")
    return p.ratings.select([*names, "rating"]).rename_columns(["id", "other", "rating"])
