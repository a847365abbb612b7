"""The vocabulary: one pydantic file per stage of a message's life. Imports nothing of ours."""
