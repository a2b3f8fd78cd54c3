"""Names and types of the columns that the steps hand to one another; the only place that spells them.

Schemas are Spark DDL strings, so that this module needs no pyspark.
"""

USER = "user"
ITEM = "item"
RATING = "rating"
TIMESTAMP = "timestamp"
WEIGHT = "weight"

TITLE = "title"
YEAR = "year"
GENRES = "genres"

FOLD = "fold"
PART = "part"
TRAIN, VALIDATION, TEST = "train", "validation", "test"

PREDICTION = "prediction"
RANK = "rank"
SCORE = "score"
RUN_DATE = "run_date"

INDICES = "indices"
VALUES = "values"

RATINGS_DDL = f"{USER} bigint, {ITEM} bigint, {RATING} float, {TIMESTAMP} timestamp"
MOVIES_DDL = f"{ITEM} bigint, {TITLE} string, {YEAR} int, {GENRES} array<string>"
REJECTED_DDL = "source string, content string, reason string"
SPLIT_DDL = f"{RATINGS_DDL}, {FOLD} int"
RECOMMENDATIONS_DDL = f"{USER} bigint, {RANK} int, {ITEM} bigint, {SCORE} float, {RUN_DATE} date"
