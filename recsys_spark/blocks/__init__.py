"""Rating blocks: their layout, how rows are cut into them, how they are built, and where they stay during a fit."""
