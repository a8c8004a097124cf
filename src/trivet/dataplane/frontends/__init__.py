"""One transport's adapter each: it turns a transport into a call of the corridor, and adds nothing."""
