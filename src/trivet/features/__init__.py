"""What a project's code says of its models, bound to its own tables: Predictors, and the Outcomes that find their labels."""
