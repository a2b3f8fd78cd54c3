"""Generated data sets in MovieLens format, with a planted truth and the errors no model can go below."""
