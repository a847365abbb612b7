"""Records in, Markdown for people out; whatever came from a message is escaped."""
